-- ARGV: session, commit, lease or '', checkpoint, its record as it was verified, the restore's entry (JSON), and the
-- record's leaf, chain, number of messages and ranges.
-- Returns {'ok', ...}, {'missing'}, {'changed'}, {'lost'} or {'busy', ms}.
local session, commit, token, checkpoint, record, entry, leaf, chain, count, ranges = unpack(ARGV)
local found = redis.call('HMGET', META, 'agentName', 'version', 'ttl', 'updatedAt')
local agent, version, ttl, updated = unpack(found, 1, 4)
if not agent then return {'missing'} end
if redis.call('ZSCORE', COMMITS, commit) then return state('ok') end
local reason, wait = refused(token)
if reason then return {reason, wait} end
if redis.call('HGET', CHECKPOINTS, checkpoint) ~= record then return {'changed'} end
local length = number(redis.call('LLEN', ENTRIES))
local time = math.max(now(), tonumber(updated))
redis.call('HSET', META, 'version', number(version + 1), 'messageCount', count, 'currentLeaf', leaf,
  'chain', chain, 'base', ranges, 'tail', length, 'updatedAt', number(time))
redis.call('RPUSH', EVENTS, 'r\n' .. length .. '\n' .. entry)
remember(commit)
expire(tonumber(ttl))
index(session, agent, time, tonumber(ttl))
return state('ok')
