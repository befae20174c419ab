-- ARGV: lease, how long (ms; 0: give it back). Returns 1, or 0 if it was lost.
if redis.call('GET', LEASE) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', LEASE) else redis.call('PEXPIRE', LEASE, ARGV[2]) end
return 1
