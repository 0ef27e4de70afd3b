-- Adds one to a counter, unless a later leader has counted.
--
-- KEYS[1]  counter: a hash with "count", and with "fence" of the leader that counted last
-- ARGV[1]  fencing token of the caller, an integer below 2^53
--
-- Returns {count, fence}:
--   {n, fence}  counted: n, at least 1, is the new count, fence is ARGV[1]
--   {0, fence}  refused: a later leader has counted with fence; nothing changed
--
-- The check and the write are in one script. In two scripts, a leader could be stopped between its
-- check and its write until another leader is elected.

local last = redis.call('HGET', KEYS[1], 'fence')
if last and tonumber(last) > tonumber(ARGV[1]) then return {0, tonumber(last)} end

local count = redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return {count, tonumber(ARGV[1])}
