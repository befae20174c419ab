-- On a cluster: which session a user's first callers make. KEYS: the user's index. Not preceded by common.lua.
-- ARGV: id of the session that this caller would make, score. Returns the id that all callers are to use.
local newest = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if newest then return newest end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return ARGV[1]
