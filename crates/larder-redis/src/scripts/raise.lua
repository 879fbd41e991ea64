-- KEYS barriers   ARGV seen fresh expected(or '') ms names-max channel(or '') news name note name note ...
-- {0,n,id} unchanged   {1,n,id} they stand at n
-- A name stands in the field ':name', as the number, the time at which it may be forgotten, and the note.
local key = KEYS[1]
local n, id, changed, fault = sequence(key, tonumber(ARGV[1]), ARGV[2])
if fault then return fault end
local now = now_ms()
if failed(now) then return now end
if changed then begin_barriers(key, n, id) end
if ARGV[3] ~= '' then
  local stands = 0
  local first = ARGV[8] and redis.call('HGET', key, ':' .. ARGV[8])
  if first then
    local at, forget_at = struct.unpack('>I8I8', first)
    if forget_at > now then stands = at end
  end
  if stands ~= tonumber(ARGV[3]) then return {0, n, id} end
end
n, fault = advance(n, 1)
if fault then return fault end
-- A write that needs no memory lets what follows work without free memory too.
redis.call('HDEL', key, '')
keep_sequence(key, n, id)
local until_ms = now + tonumber(ARGV[4])
for at = 8, #ARGV, 2 do
  redis.call('HSET', key, ':' .. ARGV[at], struct.pack('>I8I8', n, until_ms) .. ARGV[at + 1])
end
-- A few of those that may be forgotten, from where the last one stopped.
local step = redis.call('HSCAN', key, redis.call('HGET', key, 'cursor') or '0', 'COUNT', 32 + #ARGV)
redis.call('HSET', key, 'cursor', step[1])
for at = 1, #step[2], 2 do
  local name, value = step[2][at], step[2][at + 1]
  if string.sub(name, 1, 1) == ':' then
    local _, forget_at = struct.unpack('>I8I8', value)
    if forget_at <= now then redis.call('HDEL', key, name) end
  end
end
-- Besides the names there are n, id, floor and cursor.
if redis.call('HLEN', key) - 4 > tonumber(ARGV[5]) then begin_barriers(key, n, id) end
if ARGV[6] ~= '' then
  fault = announce(ARGV[6], n, id, ARGV[7])
  if fault then return fault end
end
return {1, n, id}
