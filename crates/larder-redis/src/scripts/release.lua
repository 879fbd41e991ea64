-- KEYS lease   ARGV token
-- 0 it does not stand   1 given back   2 given back, and somebody had asked for it
local held = redis.pcall('GET', KEYS[1])
if not holds(held, ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[1])
return is_awaited(held) and 2 or 1
