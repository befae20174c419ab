-- ARGV: lease, how long (ms). Returns {'ok'}, {'missing'} or {'busy', ms}.
if redis.call('EXISTS', META) == 0 then return {'missing'} end
local holder = redis.call('GET', LEASE)
if holder and holder ~= ARGV[1] then return {'busy', redis.call('PTTL', LEASE)} end
redis.call('SET', LEASE, ARGV[1], 'PX', ARGV[2])
return {'ok'}
