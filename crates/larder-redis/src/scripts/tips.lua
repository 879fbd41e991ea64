-- KEYS sequence   ARGV seen fresh
-- {n,id}
local n, id, changed, fault = sequence(KEYS[1], tonumber(ARGV[1]), ARGV[2])
if fault then return fault end
if changed then keep_sequence(KEYS[1], n, id) end
return {n, id}
