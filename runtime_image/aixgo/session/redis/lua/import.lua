-- The last step of an import; entries, checkpoints, turns and events were written before.
-- ARGV: session, agent, createdAt, updatedAt, ttl (ms), fields and values of meta ...
-- Returns 1, or 0 if there is such a session.
local session, agent, created, updated, ttl = unpack(ARGV, 1, 5)
if redis.call('EXISTS', META) == 1 then return 0 end
redis.call('HSET', META, 'id', session, 'agentName', agent, 'createdAt', created, 'updatedAt', updated, 'ttl', ttl,
  unpack(ARGV, 6))
for place = 2, 6 do redis.call('PERSIST', KEYS[place]) end
expire(tonumber(ttl))
index(session, agent, tonumber(updated), tonumber(ttl))
return 1
