-- The server's time, or an error.
local function now_ms()
  local time = redis.pcall('TIME')
  if time.err then return time end
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A sequence: in a hash, its number `n` and the `id` of its history.
-- `seen` is the highest number the caller knows. A lower one in store, or none, means that history was lost: then it
-- begins anew, above all that was drawn, under a fresh id, by which every other process notices it too.
-- Answers number, id, whether it must be stored; or an error. Writes nothing.
local function sequence(key, seen, fresh)
  local stored = redis.pcall('HMGET', key, 'n', 'id')
  if stored.err then return nil, nil, nil, stored end
  local n, id = tonumber(stored[1] or ''), stored[2]
  if n and id and #id <= 20 and n >= seen then return n, id, false end
  local now = now_ms()
  if type(now) == 'table' then return nil, nil, nil, now end
  return math.max(n or 0, seen, now * 1024), fresh, true
end

local function advance(n, steps)
  if n > 9007199254740991 - steps then return nil, redis.error_reply('LARDERFULL the sequence is used up') end
  return n + steps
end

local function keep_sequence(key, n, id)
  redis.call('HSET', key, 'n', string.format('%.0f', n), 'id', id)
end

local function failed(reply)
  return type(reply) == 'table' and reply.err
end

-- Tells who listens; the last thing a script does, for a number that is told must be kept. Answers an error, or
-- nothing.
local function announce(channel, n, id, news)
  local told = redis.pcall('PUBLISH', channel, '\1' .. struct.pack('>I8B', n, #id) .. id .. news)
  if failed(told) then return redis.error_reply('LARDERNEWS ' .. told.err) end
end

-- A lease holds its token (16 bytes), the number of its grant (8), and one byte more once somebody else has asked for
-- it. `shown` is the token, or both.
local function holds(held, shown)
  return type(held) == 'string' and #held >= 24 and string.sub(held, 1, #shown) == shown
end

local function is_awaited(held)
  return #held > 24
end

-- Whether a key bore this revision, or a higher one. Both are eight bytes, more than a number of Lua holds exactly.
local function superseded(noted, revision)
  local known = redis.pcall('GET', noted)
  if type(known) ~= 'string' or #known ~= 8 then return false end
  local high, low = struct.unpack('>I4I4', known)
  local new_high, new_low = struct.unpack('>I4I4', revision)
  return high > new_high or (high == new_high and low >= new_low)
end

-- Barriers without names, at n: all that is older is invalid.
local function begin_barriers(key, n, id)
  redis.call('UNLINK', key)
  keep_sequence(key, n, id)
  redis.call('HSET', key, 'floor', string.format('%.0f', n), 'cursor', '0')
end

-- Forgets the nodes that fell silent; answers the others, each with what it said.
local function living(members, now)
  local all, alive = redis.call('HGETALL', members), {}
  for at = 1, #all, 2 do
    local silent_at = tonumber(string.match(all[at + 1], ' (%d+)$') or 0)
    if silent_at > now then
      alive[#alive + 1] = all[at]
      alive[#alive + 1] = all[at + 1]
    elseif all[at] ~= 'id' and all[at] ~= 'at' then
      redis.call('HDEL', members, all[at])
    end
  end
  return alive
end

-- Lists a value that was stored, KEYS[1], in the indexes of its tags, KEYS[first] and all after it, for as long as it is
-- kept, and lets go of a few whose time is over: more than come. An index goes with its last member. Nothing depends on
-- it, so what fails here fails nothing else.
local function list_under_tags(first, ms)
  if #KEYS < first then return end
  local now = now_ms()
  if failed(now) then return end
  local key = string.sub(KEYS[1], string.find(KEYS[1], '}', 1, true) + 3)
  for at = first, #KEYS do
    local index = KEYS[at]
    if not failed(redis.pcall('ZADD', index, string.format('%.0f', now + ms), key)) then
      local left = redis.pcall('PTTL', index)
      if type(left) ~= 'number' or left < ms then redis.pcall('PEXPIRE', index, string.format('%.0f', ms)) end
      local over = redis.pcall('ZRANGEBYSCORE', index, '-inf', string.format('%.0f', now), 'LIMIT', 0, 4)
      if not failed(over) and #over > 0 then redis.pcall('ZREM', index, unpack(over)) end
    end
  end
end
