-- Reads who holds the lock.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
--
-- Returns {pttl, fence, value}: pttl in milliseconds, 0 for less than one, -1
-- for a key without expiry, -2 for nobody (value is '' then); fence as it
-- stands in the fence key, '' where there is none or one of another type.

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
local fence = redis.pcall('GET', KEYS[2])
if type(fence) ~= 'string' then fence = '' end
if not held then return {-2, fence, ''} end
return {redis.call('PTTL', KEYS[1]), fence, held}
