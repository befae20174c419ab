-- ARGV: session, agent. Returns 1, or 0 if there is no such session.
if redis.call('EXISTS', META) == 0 then return 0 end
redis.call('DEL', META, ENTRIES, CHECKPOINTS, TURNS, COMMITS, EVENTS, LEASE)
if INDEXED then
  redis.call('ZREM', KEYS[8], ARGV[1])
  redis.call('ZREM', KEYS[9], ARGV[1])
  if redis.call('EXISTS', KEYS[8]) == 0 then redis.call('SREM', KEYS[10], ARGV[2]) end
end
return 1
