-- Sets the remaining time of the lock if the value is still the caller's.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key, or not given: then the fence key is not touched
-- ARGV[1]  value of the acquisition
-- ARGV[2]  new remaining time, milliseconds
-- ARGV[3]  with KEYS[2]: how much longer than the lock the fence key lives, milliseconds
-- ARGV[4]  with KEYS[2]: fence of the acquisition
--
-- Returns one of:
--   1  renewed
--   0  the lock is not the caller's; nothing changed
--
-- The script uses PEXPIRE because Redis allows PEXPIRE at maxmemory. A fence key that does not
-- have the caller's fence any more is not changed.
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
if held ~= ARGV[1] then return 0 end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
if type(set) == 'table' then return set end
if KEYS[2] and redis.pcall('GET', KEYS[2]) == ARGV[4] then
  local longer = tonumber(ARGV[2]) + tonumber(ARGV[3])
  if redis.call('PTTL', KEYS[2]) < longer then redis.pcall('PEXPIRE', KEYS[2], string.format('%.0f', longer)) end
end
return 1
