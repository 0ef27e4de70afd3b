-- Acquires the lock, together with its fencing token, if the lock is free.
-- The lock is free when its key does not exist, or when an orphan holds it.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
-- ARGV[1]  value of this acquisition
-- ARGV[2]  lease, milliseconds
-- ARGV[3]  how much longer than the lock the fence key lives, milliseconds
-- ARGV[4]  channel of announcements, or '' when the caller announces the acquisition
-- ARGV[5]  value of the hold that the caller has already, or ''
-- ARGV[6]  and so on: values of the caller's orphans: acquisitions of unknown outcome
--
-- Returns one of:
--   {1, fence, previous}  acquired: the lock was free, or the key had ARGV[1] already
--   {2, pttl}             ARGV[5] holds the lock; nothing changed
--   {3, pttl}             another holder has the lock; nothing changed
-- previous is the fence before this one, 0 for none.
-- pttl is the remaining time in milliseconds: 0 for less than one, -1 for no expiry.
--
-- Every read that can fail comes before the first write, so an error of a read changes
-- nothing. TIME before a write needs effect replication, the default since Redis 5.

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end

local free = not held
if held and held ~= ARGV[1] then
  if held ~= '' and held == ARGV[5] then return {2, redis.call('PTTL', KEYS[1])} end
  local adopted = false
  for i = 6, #ARGV do adopted = adopted or held == ARGV[i] end
  if not adopted then return {3, redis.call('PTTL', KEYS[1])} end
end

local previous = redis.pcall('GET', KEYS[2])
if type(previous) == 'table' then return previous end
previous = previous or '0'
-- A number of up to 15 digits, or of 16 digits that begins with 1 to 8, is below 2^53.
-- Lua counts exactly up to there.
if not (string.match(previous, '^%d+$') and (#previous < 16 or (#previous == 16 and previous < '9'))) then
  return redis.error_reply('ERR foreign value in the fence key ' .. KEYS[2])
end

local time = redis.pcall('TIME')
if time.err then return time end
local fence = math.max(tonumber(previous) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local digits = string.format('%.0f', fence)

-- The fence is written first. If the second write is refused, no lock is left behind.
local set = redis.pcall('SET', KEYS[2], digits, 'PX', string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3])))
if set.err then return set end
if free then
  set = redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
else
  set = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
if set.err then return set end
if ARGV[4] ~= '' then
  redis.pcall('PUBLISH', ARGV[4], 'acquired ' .. digits .. ' ' .. ARGV[2] .. ' ' .. previous .. ' ' .. ARGV[1])
end
return {1, fence, tonumber(previous)}
