-- ARGV: session, commit, expected version or '', lease or '', idempotency key or '', then per message: entry id, the
-- entry's JSON up to its id, the rest of it, and the SHA-256 of both.
-- Returns {'ok', ...}, {'missing'}, {'conflict', version}, {'lost'} or {'busy', ms}.
local session, commit, expected, token, key = unpack(ARGV, 1, 5)
local found = redis.call('HMGET', META, 'agentName', 'version', 'messageCount', 'currentLeaf', 'chain', 'ttl')
local agent, version, count, leaf, chain, ttl = unpack(found, 1, 6)
if not agent then return {'missing'} end
if redis.call('ZSCORE', COMMITS, commit) then return state('ok') end
if key ~= '' and redis.call('HEXISTS', TURNS, key) == 1 then return state('ok') end
local reason, wait = refused(token)
if reason then return {reason, wait} end
if expected ~= '' and expected ~= version then return {'conflict', version} end

local first, added = redis.call('LLEN', ENTRIES), 0
for place = 6, #ARGV, 4 do
  local entry, head, rest, digest = unpack(ARGV, place, place + 3)
  local parent = leaf ~= '' and (',"parentId":"' .. leaf .. '"') or ''
  redis.call('RPUSH', ENTRIES, head .. parent .. rest)
  chain = redis.sha1hex(chain .. digest)
  leaf = entry
  added = added + 1
end
local time = math.max(now(), tonumber(redis.call('HGET', META, 'updatedAt')))
redis.call('HSET', META, 'version', number(version + added), 'messageCount', number(count + added),
  'currentLeaf', leaf, 'chain', chain, 'updatedAt', number(time))
if key ~= '' then redis.call('HSET', TURNS, key, first .. ':' .. added) end
remember(commit)
expire(tonumber(ttl))
index(session, agent, time, tonumber(ttl))
return state('ok')
