-- KEYS value lease tag-index ...   ARGV lease ms(0: not to be kept, remove) stamped bytes
-- {0} the lease does not stand   {1,awaited} stored   {2,why,awaited} removed
local held = redis.pcall('GET', KEYS[2])
if not holds(held, ARGV[1]) then return {0} end
local awaited = is_awaited(held) and 1 or 0
if ARGV[2] == '0' then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  return {2, '', awaited}
end
if failed(redis.pcall('STRLEN', KEYS[1])) then
  redis.call('UNLINK', KEYS[2])
  return {0}
end
local set = redis.pcall('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
if failed(set) then
  local gone = redis.pcall('UNLINK', KEYS[1], KEYS[2])
  if failed(gone) then return gone end
  return {2, set.err, awaited}
end
redis.call('UNLINK', KEYS[2])
list_under_tags(3, tonumber(ARGV[2]))
return {1, awaited}
