-- Every script begins with this.
--
-- KEYS 1..7 are the keys of one session, all in one slot of a cluster: meta (hash), entries (list of messages as JSON
-- lines, of all branches), checkpoints (hash), turns (hash: idempotency key -> first entry and number), commits (sorted
-- set of the ids of the newest commits), events (list of checkpoints and restores with their place), lease (string).
-- KEYS 8..10, where the server is no cluster, are the agent's and the user's index (sorted sets: minus the time of the
-- last change -> session id) and the set of all agents.
local META, ENTRIES, CHECKPOINTS, TURNS, COMMITS, EVENTS, LEASE = unpack(KEYS, 1, 7)
local INDEXED = #KEYS >= 10
-- So many commits are recognised when they arrive a second time.
local REMEMBERED_COMMITS = 256
-- The entries that a checkpoint is verified by, see newest.
local WINDOW, WINDOW_BYTES = 4, 4096

-- Whole numbers as text: Lua would write large ones with an exponent.
local function number(value) return string.format('%d', value) end

-- Microseconds since 1970, by the server's clock: replicas may disagree about theirs.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Gives all keys of the session the same time to live (a text: milliseconds; 0: none).
local function expire(ttl)
  if ttl ~= '0' then
    for place = 1, 6 do redis.call('PEXPIRE', KEYS[place], ttl) end
  end
end

-- An index lives as long as the longest-lived of its sessions.
local function keep(key, ttl, fresh)
  if ttl == '0' then
    redis.call('PERSIST', key)
  else
    local left = redis.call('PTTL', key)
    if fresh or (left >= 0 and left < tonumber(ttl)) then redis.call('PEXPIRE', key, ttl) end
  end
end

-- Removes sessions from an index that have expired. Looks at a few of those that were not changed for longest.
local function sweep(key, session, few)
  local prefix = string.sub(META, 1, #META - #session - #'{}:meta')
  for _, other in ipairs(redis.call('ZRANGE', key, -few, -1)) do
    if redis.call('EXISTS', prefix .. '{' .. other .. '}:meta') == 0 then redis.call('ZREM', key, other) end
  end
end

-- Puts a session in its place in the indexes. `updated` is a text: microseconds.
local function index(session, agent, updated, ttl)
  if not INDEXED then return end
  local known, score = true, number(-updated)
  for place = 8, 9 do
    local key = KEYS[place]
    local added = redis.call('ZADD', key, score, session) == 1
    if added then
      known = false
      keep(key, ttl, redis.call('ZCARD', key) == 1)
    elseif ttl ~= '0' then
      keep(key, ttl, false)
    end
  end
  if not known then
    local added = redis.call('SADD', KEYS[10], agent) == 1
    keep(KEYS[10], ttl, added and redis.call('SCARD', KEYS[10]) == 1)
  elseif ttl ~= '0' then
    keep(KEYS[10], ttl, false)
  end
end

-- Whether somebody else holds the session. Returns nil, 'lost' or 'busy', and how long in milliseconds.
local function refused(token)
  local holder = redis.call('GET', LEASE)
  if token ~= '' then
    if holder ~= token then return 'lost', 0 end
  elseif holder then
    return 'busy', redis.call('PTTL', LEASE)
  end
  return nil
end

-- What every change answers with.
local function state(status)
  local found = redis.call('HMGET', META, 'createdAt', 'updatedAt', 'messageCount', 'version', 'currentLeaf')
  return {status, unpack(found, 1, 5)}
end

-- Remembers a commit that takes the session from one version to another. Returns false if it is known already.
local function remember(commit, version, after)
  if redis.call('ZADD', COMMITS, 'NX', number(version), commit) == 0 then return false end
  if math.floor(version / 64) ~= math.floor(after / 64) then
    redis.call('ZREMRANGEBYRANK', COMMITS, 0, -REMEMBERED_COMMITS - 1)
  end
  return true
end

-- What a checkpoint is verified by: how many of the newest entries of its branch, and their SHA-1, newest first. So
-- few that it costs the same however long the history is. The branch is the ranges of `base`, then what is between
-- `tail` and `length`. `wanted`: exactly so many. Without it, as many as WINDOW and WINDOW_BYTES allow.
local function newest(base, tail, length, wanted)
  local texts, size, most = {}, 0, wanted or WINDOW
  local function full() return #texts >= most or (not wanted and size >= WINDOW_BYTES) end
  local function take(first, last)
    if first >= last then return end
    local from = math.max(first, last - most + #texts)
    local block = redis.call('LRANGE', ENTRIES, number(from), number(last - 1))
    for place = last - from, 1, -1 do
      if full() then return end
      local text = block[place] or ''
      texts[#texts + 1] = text
      size = size + #text
    end
  end
  take(tail, length)
  if base ~= '' and not full() then
    local ranges = {}
    for first, last in string.gmatch(base, '(%d+):(%d+)') do ranges[#ranges + 1] = {first, last} end
    for place = #ranges, 1, -1 do
      if full() then break end
      take(tonumber(ranges[place][1]), tonumber(ranges[place][2]))
    end
  end
  return #texts .. ':' .. redis.sha1hex(table.concat(texts, '\n'))
end
