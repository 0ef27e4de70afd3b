-- Releases the lock if its value is one of the caller's.
--
-- KEYS[1]  lock key
-- ARGV[1]  channel of announcements
-- ARGV[2]  and so on: values of the caller's acquisitions
--
-- Returns 1: released; 0: not the caller's, nothing changed.

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
for i = 2, #ARGV do
  if held == ARGV[i] then
    local deleted = redis.pcall('DEL', KEYS[1])
    if type(deleted) == 'table' then return deleted end
    redis.pcall('PUBLISH', ARGV[1], 'released ' .. held)
    return 1
  end
end
return 0
