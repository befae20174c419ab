-- On a cluster: one index at a time, in a call of its own. KEYS: the index. Not preceded by common.lua.
-- ARGV: member, score or '' to remove it, ttl (ms), kind ('zset', or 'set' for the set of agents).
local key, member, score, ttl, kind = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if score == '' then return redis.call(kind == 'set' and 'SREM' or 'ZREM', key, member) end
local fresh = redis.call('EXISTS', key) == 0
if kind == 'set' then redis.call('SADD', key, member) else redis.call('ZADD', key, score, member) end
if ttl == 0 then
  redis.call('PERSIST', key)
else
  local left = redis.call('PTTL', key)
  if fresh or (left >= 0 and left < ttl) then redis.call('PEXPIRE', key, ARGV[3]) end
end
return 1
