-- KEYS sequence value lease value lease ...   ARGV seen fresh channel(or '') news(or '') news ...
-- {n,id}: gone, the last of them at place n. UNLINK comes first: it works without free memory and lets what follows
-- work too.
local n, id, _, fault = sequence(KEYS[1], tonumber(ARGV[1]), ARGV[2])
if fault then return fault end
local keys = (#KEYS - 1) / 2
local last
last, fault = advance(n, keys)
if fault then return fault end
redis.call('UNLINK', unpack(KEYS, 2))
keep_sequence(KEYS[1], last, id)
if ARGV[3] == '' then return {last, id} end
for at = 1, keys do
  local news = ARGV[3 + at]
  if news ~= '' then
    fault = announce(ARGV[3], n + at, id, news)
    if fault then return fault end
  end
end
return {last, id}
