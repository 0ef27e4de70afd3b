-- Adds to the remaining time of the lock if the value is still the caller's.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
-- ARGV[1]  value of the acquisition
-- ARGV[2]  time to add, milliseconds
-- ARGV[3]  how much longer than the lock the fence key lives, milliseconds
-- ARGV[4]  fence of the acquisition
-- ARGV[5]  least new remaining time of a key without expiry, milliseconds
--
-- Returns one of:
--   n  the new remaining time in milliseconds, at least 1
--   0  the lock is not the caller's; nothing changed
--
-- A key whose expiry was removed gets the larger of ARGV[2] and ARGV[5], so that the
-- key never lives for less time than its holder trusts it.

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
if held ~= ARGV[1] then return 0 end

local remaining = redis.call('PTTL', KEYS[1])
if remaining < 0 then
  remaining = math.max(tonumber(ARGV[2]), tonumber(ARGV[5]))
else
  remaining = remaining + tonumber(ARGV[2])
end
local set = redis.pcall('PEXPIRE', KEYS[1], string.format('%.0f', remaining))
if type(set) == 'table' then return set end
if redis.pcall('GET', KEYS[2]) == ARGV[4] then
  local longer = remaining + tonumber(ARGV[3])
  if redis.call('PTTL', KEYS[2]) < longer then redis.pcall('PEXPIRE', KEYS[2], string.format('%.0f', longer)) end
end
return remaining
