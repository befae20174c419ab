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

local function number(value) return string.format('%.0f', value) end

-- Microseconds since 1970, by the server's clock: replicas may disagree about theirs.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Gives all keys of the session the same time to live (milliseconds; 0: none).
local function expire(ttl)
  if ttl > 0 then
    for place = 1, 6 do redis.call('PEXPIRE', KEYS[place], number(ttl)) end
  end
end

-- An index lives as long as the longest-lived of its sessions.
local function keep(key, ttl, fresh)
  if ttl == 0 then
    redis.call('PERSIST', key)
  else
    local left = redis.call('PTTL', key)
    if fresh or (left >= 0 and left < ttl) then redis.call('PEXPIRE', key, number(ttl)) end
  end
end

local function index(session, agent, updated, ttl)
  if not INDEXED then return end
  for place = 8, 9 do
    local fresh = redis.call('EXISTS', KEYS[place]) == 0
    redis.call('ZADD', KEYS[place], number(-updated), session)
    keep(KEYS[place], ttl, fresh)
  end
  local fresh = redis.call('EXISTS', KEYS[10]) == 0
  redis.call('SADD', KEYS[10], agent)
  keep(KEYS[10], ttl, fresh)
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

local function remember(commit)
  local version = tonumber(redis.call('HGET', META, 'version'))
  redis.call('ZADD', COMMITS, number(version), commit)
  if version % 64 == 0 then redis.call('ZREMRANGEBYRANK', COMMITS, 0, -REMEMBERED_COMMITS - 1) end
end
