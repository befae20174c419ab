-- ARGV: place on the branch before which to read (-1: its end), how many (-1: all).
-- Returns {number of messages on the branch, lists of entries, oldest first ...} or {-1}.
local before, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local found = redis.call('HMGET', META, 'messageCount', 'base', 'tail')
local count, base, tail = tonumber(found[1]), found[2], tonumber(found[3])
if not count then return {-1} end
local last = before >= 0 and math.min(before, count) or count
local first = limit >= 0 and math.max(0, last - limit) or 0
local answer, place = {count}, 0
local function read(begin, finish)
  local length = finish - begin
  local from, to = math.max(first - place, 0), math.min(last - place, length)
  if from < to then
    answer[#answer + 1] = redis.call('LRANGE', ENTRIES, number(begin + from), number(begin + to - 1))
  end
  place = place + length
end
for begin, finish in string.gmatch(base, '(%d+):(%d+)') do read(tonumber(begin), tonumber(finish)) end
read(tail, redis.call('LLEN', ENTRIES))
return answer
