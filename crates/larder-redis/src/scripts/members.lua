-- KEYS members
-- {id(or ''), {node, 'beat proven silent-at', node, ...}}
local now = now_ms()
if failed(now) then return now end
return {redis.call('HGET', KEYS[1], 'id') or '', living(KEYS[1], now)}
