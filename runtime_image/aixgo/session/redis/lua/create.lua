-- ARGV: session, agent, user, metadata (JSON), ttl (ms), nonce, prefix, mode ('create' or 'get_or_create')
-- Returns {'created', ...}, {'exists'} or {'found', session}.
local session, agent, user, metadata, ttl, nonce, prefix, mode = unpack(ARGV)

if mode == 'get_or_create' then
  local newest = redis.call('ZRANGE', KEYS[9], 0, 0)[1]
  while newest do
    if redis.call('EXISTS', prefix .. '{' .. newest .. '}:meta') == 1 then return {'found', newest} end
    redis.call('ZREM', KEYS[8], newest)
    redis.call('ZREM', KEYS[9], newest)
    newest = redis.call('ZRANGE', KEYS[9], 0, 0)[1]
  end
end
if redis.call('EXISTS', META) == 1 then
  -- The same call, sent again because its answer was lost?
  if redis.call('HGET', META, 'nonce') == nonce then return state('created') end
  return {'exists'}
end
if INDEXED then
  sweep(KEYS[8], session, 8)
  sweep(KEYS[9], session, 8)
end
local time = number(now())
redis.call('DEL', ENTRIES, CHECKPOINTS, TURNS, COMMITS, EVENTS, LEASE)
redis.call('HSET', META, 'id', session, 'agentName', agent, 'userId', user, 'metadata', metadata,
  'ttl', ttl, 'createdAt', time, 'updatedAt', time, 'messageCount', '0', 'version', '0',
  'currentLeaf', '', 'chain', '', 'base', '', 'tail', '0', 'nonce', nonce)
expire(ttl)
index(session, agent, time, ttl)
return state('created')
