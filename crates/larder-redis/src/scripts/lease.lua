-- KEYS value lease sequence   ARGV token ms mode(miss|refresh) seen fresh
-- {1,bytes} an entry   {2} held by another   {3,n,id} granted   {4} another type   {5,why} no room for a lease
if ARGV[3] == 'miss' then
  local value = redis.pcall('GET', KEYS[1])
  if failed(value) then return {4} end
  if value then return {1, value} end
elseif failed(redis.pcall('STRLEN', KEYS[1])) then
  return {4}
end
local held = redis.pcall('GET', KEYS[2])
if failed(held) then return {4} end
if held and not holds(held, ARGV[1]) then
  -- Without free memory it stays unmarked, and whoever waits asks again by and by.
  if #held == 24 then redis.pcall('APPEND', KEYS[2], '!') end
  return {2}
end
local n, id, changed, fault = sequence(KEYS[3], tonumber(ARGV[4]), ARGV[5])
if fault then return fault end
-- Asked again under the token that holds it, it stays as it was granted.
local granted = held and struct.unpack('>I8', string.sub(held, 17, 24)) or n
local set = redis.pcall('SET', KEYS[2], held or ARGV[1] .. struct.pack('>I8', n), 'PX', ARGV[2])
if failed(set) then
  if string.find(set.err, 'OOM', 1, true) then return {5, set.err} end
  return set
end
if changed then keep_sequence(KEYS[3], n, id) end
return {3, granted, id}
