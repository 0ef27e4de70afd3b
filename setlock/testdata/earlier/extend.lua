-- Adds to the remaining time of the lock if its value is still the caller's.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
-- ARGV[1]  value of the acquisition
-- ARGV[2]  time to add, milliseconds
-- ARGV[3]  how much longer the fence key lives than the lock, milliseconds
-- ARGV[4]  fence of the acquisition
--
-- Returns the new remaining time in milliseconds, at least 1; 0: not the
-- caller's, nothing changed. A key whose expiry was taken away gets ARGV[2].

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
if held ~= ARGV[1] then return 0 end

local remaining = math.max(redis.call('PTTL', KEYS[1]), 0) + tonumber(ARGV[2])
local set = redis.pcall('PEXPIRE', KEYS[1], string.format('%.0f', remaining))
if type(set) == 'table' then return set end
if redis.pcall('GET', KEYS[2]) == ARGV[4] then
  redis.pcall('PEXPIRE', KEYS[2], string.format('%.0f', remaining + tonumber(ARGV[3])))
end
return remaining
