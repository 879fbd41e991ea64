-- KEYS sequence value lease value lease ...   ARGV seen fresh
-- {n,id}: gone, at place n. UNLINK comes first: it works without free memory and lets what follows work too.
local n, id, _, fault = sequence(KEYS[1], tonumber(ARGV[1]), ARGV[2])
if fault then return fault end
n, fault = advance(n)
if fault then return fault end
redis.call('UNLINK', unpack(KEYS, 2))
keep_sequence(KEYS[1], n, id)
return {n, id}
