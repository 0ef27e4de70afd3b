-- Reads who holds the lock.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
--
-- Returns {pttl, fence, value}:
--   pttl   remaining time in milliseconds: 0 for less than one, -1 for no expiry,
--          -2 when nobody holds the lock
--   fence  content of the fence key, '' when it does not exist or has another type
--   value  content of the lock key, '' when nobody holds the lock

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
local fence = redis.pcall('GET', KEYS[2])
if type(fence) ~= 'string' then fence = '' end
if not held then return {-2, fence, ''} end
return {redis.call('PTTL', KEYS[1]), fence, held}
