-- Sets the remaining time of the lock if its value is still the caller's.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
-- ARGV[1]  value of the acquisition
-- ARGV[2]  remaining time, milliseconds
-- ARGV[3]  how much longer the fence key lives than the lock, milliseconds
-- ARGV[4]  fence of the acquisition
--
-- Returns 1: renewed; 0: not the caller's, nothing changed.
--
-- PEXPIRE is allowed at maxmemory. A fence key that is not the caller's any
-- more is left alone.

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
if held ~= ARGV[1] then return 0 end

local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then return set end
if redis.pcall('GET', KEYS[2]) == ARGV[4] then
  redis.pcall('PEXPIRE', KEYS[2], string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3])))
end
return 1
