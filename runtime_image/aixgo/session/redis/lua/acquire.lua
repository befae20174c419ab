-- ARGV: lease, how long (ms), idempotency key or ''.
-- Returns {'ok', ..., the entries that were committed with the key, if any}, {'missing'} or {'busy', ms}.
local token, key = ARGV[1], ARGV[3]
local answer = state('ok')
if not answer[2] then return {'missing'} end
local holder = redis.call('GET', LEASE)
if holder and holder ~= token then return {'busy', redis.call('PTTL', LEASE)} end
redis.call('SET', LEASE, token, 'PX', ARGV[2])
local place = key ~= '' and redis.call('HGET', TURNS, key)
if place then
  local first, count = string.match(place, '(%d+):(%d+)')
  answer[7] = redis.call('LRANGE', ENTRIES, first, number(first + count - 1))
end
return answer
