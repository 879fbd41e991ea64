-- The sequence of a partition: a hash of its number `n` and the `id` of its history.
-- `seen` is the highest number the caller knows. A lower one in store, or none, means that history was lost: the
-- number is raised to `seen` under a fresh id, by which every other process notices it too.
-- Answers number, id, whether it must be stored; or an error. Writes nothing.
local function sequence(key, seen, fresh)
  local stored = redis.pcall('HMGET', key, 'n', 'id')
  if stored.err then return nil, nil, nil, stored end
  local n, id = tonumber(stored[1] or ''), stored[2]
  if not n or not id or n < seen then return math.max(n or 0, seen), fresh, true end
  return n, id, false
end

local function advance(n)
  if n >= 9007199254740991 then return nil, redis.error_reply('LARDERFULL the sequence is used up') end
  return n + 1
end

local function keep_sequence(key, n, id)
  redis.call('HSET', key, 'n', string.format('%.0f', n), 'id', id)
end

local function failed(reply)
  return type(reply) == 'table' and reply.err
end
