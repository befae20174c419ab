-- The last step of an import; entries, checkpoints, turns and events were written before.
-- ARGV: session, agent, createdAt, updatedAt, ttl (ms), nonce, number of entries, of checkpoints, of turns, of events,
-- fields and values of meta ...
-- Returns 1, 0 if there is such a session, or -1 if what was written is not all there, or more: write it again.
local session, agent, created, updated, ttl, nonce = unpack(ARGV, 1, 6)
if redis.call('EXISTS', META) == 1 then
  -- The same call, sent again because its answer was lost?
  return redis.call('HGET', META, 'nonce') == nonce and 1 or 0
end
local found = {redis.call('LLEN', ENTRIES), redis.call('HLEN', CHECKPOINTS), redis.call('HLEN', TURNS),
  redis.call('LLEN', EVENTS)}
for place, size in ipairs(found) do
  if size ~= tonumber(ARGV[6 + place]) then return -1 end
end
redis.call('HSET', META, 'id', session, 'agentName', agent, 'createdAt', created, 'updatedAt', updated, 'ttl', ttl,
  unpack(ARGV, 11))
redis.call('HSET', META, 'nonce', nonce)
for place = 2, 6 do redis.call('PERSIST', KEYS[place]) end
expire(ttl)
index(session, agent, updated, ttl)
return 1
