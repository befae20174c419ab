-- ARGV: session, checkpoint, body (JSON). Returns {'ok', record} or {'missing'}.
-- A record is lines: body, leaf, chain, number of messages, older ranges of the branch, first and last of its newest
-- range, what `newest` says, and the SHA-1 of all that.
local session, checkpoint, body = unpack(ARGV)
local found = redis.call('HMGET', META, 'agentName', 'currentLeaf', 'chain', 'messageCount', 'base', 'tail', 'ttl')
local agent, leaf, chain, count, base, tail, ttl = unpack(found, 1, 7)
if not agent then return {'missing'} end
local record = redis.call('HGET', CHECKPOINTS, checkpoint)
if not record then
  local length = number(redis.call('LLEN', ENTRIES))
  local window = newest(base, tonumber(tail), tonumber(length))
  record = table.concat({body, leaf, chain, count, base, tail, length, window}, '\n')
  record = record .. '\n' .. redis.sha1hex(record)
  redis.call('HSET', CHECKPOINTS, checkpoint, record)
  redis.call('RPUSH', EVENTS, 'c\n' .. length .. '\n' .. checkpoint)
  expire(ttl)
  if INDEXED and ttl ~= '0' then
    for place = 8, 10 do keep(KEYS[place], ttl, false) end
  end
end
return {'ok', record}
