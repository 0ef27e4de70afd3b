-- Releases the lock if the value is one of the caller's.
--
-- KEYS[1]  lock key
-- ARGV[1]  channel of announcements, or '' for a release that is not announced
-- ARGV[2]  and so on: values of the caller's acquisitions
--
-- Returns one of:
--   1  released
--   0  the lock is not the caller's; nothing changed

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then return held end
for i = 2, #ARGV do
  if held == ARGV[i] then
    local deleted = redis.pcall('DEL', KEYS[1])
    if type(deleted) == 'table' then return deleted end
    if ARGV[1] ~= '' then redis.pcall('PUBLISH', ARGV[1], 'released ' .. held) end
    return 1
  end
end
return 0
