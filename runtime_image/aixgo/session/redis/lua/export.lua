-- Returns the fields of meta, the entries, the fields of checkpoints and of turns, and the events, as of one moment.
return {redis.call('HGETALL', META), redis.call('LRANGE', ENTRIES, 0, -1), redis.call('HGETALL', CHECKPOINTS),
  redis.call('HGETALL', TURNS), redis.call('LRANGE', EVENTS, 0, -1)}
