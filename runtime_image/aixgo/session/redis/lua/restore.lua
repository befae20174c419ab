-- ARGV: session, commit, lease or '', checkpoint, and the restore's entry (JSON) in three parts: the leaf and the number
-- of messages go between them.
-- Returns {'ok', ...}, {'missing'}, {'unknown'}, {'changed'}, {'lost'} or {'busy', ms}.
local session, commit, token, checkpoint, before, between, behind = unpack(ARGV)
local found = redis.call('HMGET', META, 'agentName', 'createdAt', 'updatedAt', 'version', 'ttl')
local agent, created, updated, version, ttl = unpack(found, 1, 5)
if not agent then return {'missing'} end
local record = redis.call('HGET', CHECKPOINTS, checkpoint)
local leaf, chain, count, base, tail, length, window

-- Why not, and a detail.
local function obstacle()
  if not record then return 'unknown' end
  local text = string.sub(record, 1, -42)
  if redis.sha1hex(text) ~= string.sub(record, -40) then return 'changed' end
  leaf, chain, count, base, tail, length, window = string.match(text,
    '\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  local covered = tonumber(string.match(window, '^%d+'))
  if newest(base, tonumber(tail), tonumber(length), covered) ~= window then return 'changed' end
  return refused(token)
end

local reason, detail = obstacle()
local after = version + 1
if reason then
  if redis.call('ZSCORE', COMMITS, commit) then return state('ok') end
  return {reason, detail}
elseif not remember(commit, tonumber(version), after) then
  return state('ok')
end

if tail ~= length then base = (base ~= '' and (base .. ',') or '') .. tail .. ':' .. length end
local finish = number(redis.call('LLEN', ENTRIES))
version, updated = number(after), number(math.max(now(), tonumber(updated)))
redis.call('HSET', META, 'version', version, 'messageCount', count, 'currentLeaf', leaf, 'chain', chain,
  'base', base, 'tail', finish, 'updatedAt', updated)
redis.call('RPUSH', EVENTS, 'r\n' .. finish .. '\n' .. before .. leaf .. between .. count .. behind)
expire(ttl)
index(session, agent, updated, ttl)
return {'ok', created, updated, count, version, leaf}
