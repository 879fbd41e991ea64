-- KEYS value lease sequence revision? tag-index ...   ARGV ms(0: not acceptable, remove) version(or next)
-- read(or '') lease(or '') seen fresh channel(or '') news bytes revision? revision-ms?
-- {0,n,id} unchanged   {1,n,id} stored as n   {2,n,id,why} removed      (id is '' where the sequence is not asked)
local news = ARGV[2] == 'next'
local n, id, changed, fault = tonumber(ARGV[2]), '', false, nil
if news then
  n, id, changed, fault = sequence(KEYS[3], tonumber(ARGV[5]), ARGV[6])
  if fault then return fault end
end
local old = nil
local head = redis.pcall('GETRANGE', KEYS[1], 0, 15)
if not failed(head) and #head == 16 then
  local first, second = struct.unpack('>I8I8', head)
  if first == second and first <= 9007199254740991 then old = first end
end
local holding = ARGV[4] == '' or holds(redis.pcall('GET', KEYS[2]), ARGV[4])
local revision = ARGV[10] and KEYS[4]
if revision and superseded(revision, ARGV[10]) then holding = false end
local foreign = ARGV[4] ~= '' and failed(head)
-- Byte by byte: a load may have replaced what was read without drawing a number.
if ARGV[3] ~= '' and redis.pcall('GET', KEYS[1]) ~= ARGV[3] then holding = false end
if not holding or foreign or (not news and old and old > n) then
  if holding and foreign then redis.call('UNLINK', KEYS[2]) end
  if changed then keep_sequence(KEYS[3], n, id) end
  return {0, n, id}
end
if news then
  n, fault = advance(n, 1)
  if fault then return fault end
end
local why = nil
if ARGV[1] == '0' then
  why = ''
else
  local set = redis.pcall('SET', KEYS[1], struct.pack('>I8I8', n, n) .. ARGV[9], 'PX', ARGV[1])
  if failed(set) then why = set.err end
end
local gone
if why then gone = redis.pcall('UNLINK', KEYS[1], KEYS[2]) else gone = redis.pcall('UNLINK', KEYS[2]) end
if failed(gone) then return gone end
-- What was written before lets this work without free memory, too.
if revision then redis.call('SET', revision, ARGV[10], 'PX', ARGV[11]) end
if not why then list_under_tags(revision and 5 or 4, tonumber(ARGV[1])) end
if news then
  keep_sequence(KEYS[3], n, id)
  if ARGV[7] ~= '' then fault = announce(ARGV[7], n, id, ARGV[8]) end
  if fault then
    -- An entry that the others do not hear of must not stand; by the number they notice that they missed something.
    redis.call('UNLINK', KEYS[1])
    return fault
  end
end
if why then return {2, n, id, why} end
return {1, n, id}
