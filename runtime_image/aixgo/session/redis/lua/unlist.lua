-- Takes an agent without sessions out of the set of agents. KEYS: the set, the agent's index. ARGV: agent.
-- Not preceded by common.lua; not for a cluster.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
return redis.call('SREM', KEYS[1], ARGV[1])
