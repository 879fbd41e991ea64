-- KEYS members barriers sequence sequence ...   ARGV node number proven ms members-fresh, then seen fresh of the
-- barriers and of each sequence
-- {members-id, n,id of the barriers, n,id of each sequence}
local now = now_ms()
if failed(now) then return now end
-- A write that needs no memory lets what follows work without free memory too.
redis.call('HDEL', KEYS[1], '')
local answer = {false}
for at = 2, #KEYS do
  local n, id, changed, fault = sequence(KEYS[at], tonumber(ARGV[2 + at * 2]), ARGV[3 + at * 2])
  if fault then return fault end
  if changed and at == 2 then begin_barriers(KEYS[at], n, id) elseif changed then keep_sequence(KEYS[at], n, id) end
  answer[#answer + 1] = n
  answer[#answer + 1] = id
end
local members = KEYS[1]
local ms = tonumber(ARGV[4])
local kept = redis.call('HMGET', members, 'id', 'at')
local id, at = kept[1], tonumber(kept[2] or '')
-- Nobody beat for so long, or the clock jumped and those who live seem dead: then the list begins anew.
if not id or (at and now - at > ms * 0.8) then
  redis.call('UNLINK', members)
  id = ARGV[5]
  redis.call('HSET', members, 'id', id)
end
redis.call('HSET', members, 'at', string.format('%.0f', now))
local silent_at = string.format('%.0f', now + ms)
local is_new = redis.call('HSET', members, ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. silent_at)
if is_new == 1 then living(members, now) end
-- The hash itself goes when nobody lives.
if redis.call('PTTL', members) < ms then redis.call('PEXPIRE', members, string.format('%.0f', ms + 60000)) end
answer[1] = id
return answer
