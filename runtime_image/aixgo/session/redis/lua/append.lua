-- ARGV: session, commit, expected version or '', lease or '', idempotency key or '', whether the lease ends ('1'), then
-- per message: entry id, the entry's JSON up to its id, the rest of it, and the SHA-256 of both.
-- Returns {'ok', ...}, {'missing'}, {'conflict', version}, {'lost'} or {'busy', ms}.
local session, commit, expected, token, key, ends = unpack(ARGV, 1, 6)
local function done()
  if ends == '1' and redis.call('GET', LEASE) == token then redis.call('DEL', LEASE) end
end
local found = redis.call('HMGET', META, 'agentName', 'createdAt', 'updatedAt', 'messageCount', 'version',
  'currentLeaf', 'chain', 'ttl')
local agent, created, updated, count, version, leaf, chain, ttl = unpack(found, 1, 8)
if not agent then return {'missing'} end

local reason, detail = refused(token)
if not reason and expected ~= '' and expected ~= version then reason, detail = 'conflict', version end
if reason and redis.call('ZSCORE', COMMITS, commit) then return state('ok') end
if key ~= '' and redis.call('HEXISTS', TURNS, key) == 1 then
  done()
  return state('ok')
end
if reason then return {reason, detail} end

local entries = {}
for place = 7, #ARGV, 4 do
  local entry, head, rest, digest = unpack(ARGV, place, place + 3)
  entries[#entries + 1] = head .. (leaf ~= '' and (',"parentId":"' .. leaf .. '"') or '') .. rest
  chain = redis.sha1hex(chain .. digest)
  leaf = entry
end
local added = #entries
local after = version + added
if not remember(commit, tonumber(version), after) then
  done()
  return state('ok')
end
local length
for place = 1, added, 500 do
  length = redis.call('RPUSH', ENTRIES, unpack(entries, place, math.min(place + 499, added)))
end
version, count, updated = number(after), number(count + added), number(math.max(now(), tonumber(updated)))
redis.call('HSET', META, 'version', version, 'messageCount', count, 'currentLeaf', leaf, 'chain', chain,
  'updatedAt', updated)
if key ~= '' then redis.call('HSET', TURNS, key, number(length - added) .. ':' .. added) end
expire(ttl)
index(session, agent, updated, ttl)
if INDEXED and ttl ~= '0' then
  for place = 8, 9 do sweep(KEYS[place], session, 1) end
end
done()
return {'ok', created, updated, count, version, leaf}
