-- KEYS tag-index   ARGV cursor count
-- {cursor(0: the end), {key, key, ...}}: those whose time is not over. Of the others some hundred go.
local now = now_ms()
if failed(now) then return now end
local over = redis.pcall('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 500)
if failed(over) then return over end
if #over > 0 then redis.call('ZREM', KEYS[1], unpack(over)) end
local step = redis.pcall('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
if failed(step) then return step end
local keys = {}
for at = 1, #step[2], 2 do
  if tonumber(step[2][at + 1]) > now then keys[#keys + 1] = step[2][at] end
end
return {step[1], keys}
