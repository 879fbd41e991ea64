-- KEYS barriers   ARGV seen fresh name name ...
-- {n, id, floor, and for each name what stands there, or ''}
local key = KEYS[1]
local n, id, changed, fault = sequence(key, tonumber(ARGV[1]), ARGV[2])
if fault then return fault end
if changed then begin_barriers(key, n, id) end
local answer = {n, id, redis.call('HGET', key, 'floor')}
for at = 3, #ARGV do answer[at + 1] = redis.call('HGET', key, ':' .. ARGV[at]) or '' end
return answer
