-- KEYS sequence value lease value lease ... revision ...   ARGV seen fresh keys channel(or '') news(or '') news ...
-- revision revision-ms revision ...
-- {n,id}: gone, the last of them at place n. UNLINK comes first: it works without free memory and lets what follows
-- work too.
local n, id, _, fault = sequence(KEYS[1], tonumber(ARGV[1]), ARGV[2])
if fault then return fault end
local keys = tonumber(ARGV[3])
local last
last, fault = advance(n, keys)
if fault then return fault end
redis.call('UNLINK', unpack(KEYS, 2, 1 + 2 * keys))
keep_sequence(KEYS[1], last, id)
local arg = 4 + (ARGV[4] == '' and 0 or keys)
for at = 2 + 2 * keys, #KEYS do
  if not superseded(KEYS[at], ARGV[arg + 1]) then
    redis.call('SET', KEYS[at], ARGV[arg + 1], 'PX', ARGV[arg + 2])
  end
  arg = arg + 2
end
if ARGV[4] == '' then return {last, id} end
for at = 1, keys do
  local news = ARGV[4 + at]
  if news ~= '' then
    fault = announce(ARGV[4], n + at, id, news)
    if fault then return fault end
  end
end
return {last, id}
