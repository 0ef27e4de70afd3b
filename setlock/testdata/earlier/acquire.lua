-- Acquires the lock if nobody holds it, in one step with its fencing token.
--
-- KEYS[1]  lock key
-- KEYS[2]  fence key
-- ARGV[1]  value of this acquisition
-- ARGV[2]  lease, milliseconds
-- ARGV[3]  how much longer the fence key lives than the lock, milliseconds
-- ARGV[4]  channel of announcements
-- ARGV[5]  value that this client believes to hold, or ''
-- ARGV[6]  and so on: values of acquisitions whose replies never came
--
-- Returns {outcome, number}:
--   {1, fence}  acquired: the lock was free, or held for a reply that never came
--   {2, pttl}   held by ARGV[5]; nothing changed
--   {3, pttl}   held by another; nothing changed
-- pttl is in milliseconds, 0 for less than one, -1 for a key without expiry.
--
-- Every read stands before the first write: an error changes nothing. TIME
-- before a write needs effect replication, the default since Redis 5.

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
-- 15 digits and a first one up to 8 stay below 2^53, where Lua counts exactly.
if not (string.match(previous, '^%d+$') and (#previous < 16 or (#previous == 16 and previous < '9'))) then
  return redis.error_reply('ERR foreign value in the fence key ' .. KEYS[2])
end

local time = redis.pcall('TIME')
if time.err then return time end
local fence = math.max(tonumber(previous) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local digits = string.format('%.0f', fence)

-- The fence first: should the second write be refused, no lock is left behind.
local set = redis.pcall('SET', KEYS[2], digits, 'PX', string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3])))
if set.err then return set end
if free then
  set = redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
else
  set = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
if set.err then return set end
redis.pcall('PUBLISH', ARGV[4], 'acquired ' .. digits .. ' ' .. ARGV[2] .. ' ' .. previous .. ' ' .. ARGV[1])
return {1, fence}
