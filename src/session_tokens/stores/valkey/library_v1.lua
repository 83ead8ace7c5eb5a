#!lua name=session_tokens_v1
-- Reads and commits records for session-tokens, each call as of one instant. It knows stamps and links, not rules.
-- Here is how commits are carried out. The library goes on in library_v1_reads.lua, _joint.lua, _events.lua, _rights.lua
-- and _partitions.lua; library.py puts the parts together.
--
-- KEYS[1] is the last stamp given out; what precedes its final "n" is the prefix of every key of the partition.
-- A record is a string: a stamp of 16 digits, the name of the record to bring along with it (or nothing), a line
-- feed, and a body that only the library reads. A bucket is a sorted set of ids whose member "#" holds its stamp
-- as score, above the score of every id (instants are milliseconds, stamps microseconds). The names of buckets begin
-- with "b"; other sorted sets (listings) have no stamp. That of the transferable tokens of a session, lx, moves only
-- when the bucket of all its tokens, bh, does, whose stamp is its own.

local STAMP_LENGTH = 16
local MARK = '#'
local BUCKET = 98 -- the letter b, with which the names of buckets begin
local KEYS_MAX = 1000
local LEAP = 3600000000 -- microseconds

-- What this server process gave out: by key and stamp the last stamp of each partition (databases of one server may have
-- a partition each under one key), and by key the highest of all.
local lasts, highest = {}, {}

local function prefix_of(keys)
  return string.sub(keys[1], 1, -2)
end

-- As prefix_of, for what writes. While a cluster moves the slot of these keys from node to node, key by key, a key that
-- is not on the one is an error, in the midst of a function too, whose first writes stay. So a key that never is comes
-- first, and what would be half is nothing.
local function prefix_to_write(keys)
  local prefix = prefix_of(keys)
  redis.call('EXISTS', prefix .. '0')
  return prefix
end

local function milliseconds(time)
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What one call of the commit function works on; set anew at its beginning. A command costs far more than the work it
-- does here, so what can be is put off to the end of the call, when one command does it for all its commits:
-- puts holds the values of records without an expiry, gone the names of records to delete.
local prefix, stamp, stamps, puts, gone

-- What texts say as numbers: to read one takes far longer than to find it, and most stand in one call many times.
local numbers
local function number_in(text)
  numbers[text] = numbers[text] or tonumber(text)
  return numbers[text]
end

-- A stamp as text; all its digits at once, beyond 32 bits, take several times as long.
local function text_of(number) return string.format('%d%08d', math.floor(number / 1e8), number % 1e8) end

-- Read the stamps of all records that commits check, as they are before the first of them; answer how many commits.
local function read_stamps(args, first)
  local names, keys = {}, {}
  stamps = {}
  local at, count = first + 2, 0
  while args[at] do
    count = count + 1
    local checks_end = at + 2 * number_in(args[at])
    for place = at + 1, checks_end, 2 do
      local name = args[place]
      if not stamps[name] and string.byte(name) ~= BUCKET then
        stamps[name] = ''
        names[#names + 1], keys[#keys + 1] = name, prefix .. name
      end
    end
    at = checks_end + 4 + number_in(args[checks_end + 1])
  end
  for first = 1, #keys, KEYS_MAX do
    local values = redis.call('MGET', unpack(keys, first, math.min(#keys, first + KEYS_MAX - 1)))
    for place, value in ipairs(values) do
      stamps[names[first + place - 1]] = value and string.sub(value, 1, STAMP_LENGTH) or ''
    end
  end
  return count
end

-- Whether a record or bucket still has the stamp with which it was read; an empty stamp is that of nothing.
local function is_unchanged(name, expected)
  local found = stamps[name]
  if not found then
    found = redis.call('ZSCORE', prefix .. name, MARK) or ''
  end
  return found == expected
end

local function put(name, body, ...)
  stamps[name], puts[name], gone[name] = stamp, nil, nil
  redis.call('SET', prefix .. name, stamp .. body, ...)
end

-- Do what was put off.
local function finish()
  local words, keys = {}, {}
  for name, value in pairs(puts) do
    words[#words + 1], words[#words + 2] = prefix .. name, value
  end
  for name in pairs(gone) do
    keys[#keys + 1] = prefix .. name
  end
  for first = 1, #words, KEYS_MAX do
    redis.call('MSET', unpack(words, first, math.min(#words, first + KEYS_MAX - 1)))
  end
  for first = 1, #keys, KEYS_MAX do
    redis.call('DEL', unpack(keys, first, math.min(#keys, first + KEYS_MAX - 1)))
  end
end

-- The bucket of a session's tokens may be left empty: it goes with the session.
local function take(name, id)
  local key = prefix .. name
  if redis.call('ZREM', key, id) == 1 and string.sub(name, 1, 1) == 'b' then
    if string.sub(name, 1, 2) ~= 'bh' and redis.call('ZCARD', key) <= 1 then
      redis.call('DEL', key)
    else
      redis.call('ZADD', key, stamp, MARK)
    end
  end
end

local function add(name, score, id)
  if string.sub(name, 1, 1) == 'b' then
    redis.call('ZADD', prefix .. name, score, id, stamp, MARK)
  else
    redis.call('ZADD', prefix .. name, score, id)
  end
end

local writes = {}

-- p name expires_at body: write a record; expires_at 0 is never.
function writes.p(args, at)
  local name = args[at]
  if args[at + 1] == '0' then
    stamps[name], puts[name], gone[name] = stamp, stamp .. args[at + 2], nil
  else
    put(args[at], args[at + 2], 'PXAT', args[at + 1])
  end
  return at + 3
end

-- q name expires_at body: write a session; what was made to stay (see h) stays.
function writes.q(args, at)
  if args[at + 1] == '0' or redis.call('PTTL', prefix .. args[at]) == -1 then
    put(args[at], args[at + 2])
  else
    put(args[at], args[at + 2], 'PXAT', args[at + 1])
  end
  return at + 3
end

-- k name body: write a session that expires as it did before.
function writes.k(args, at)
  put(args[at], args[at + 1], 'KEEPTTL')
  return at + 2
end

-- y name: keep a session until it is deleted: tokens may come to it that outlive it.
function writes.y(args, at)
  redis.call('PERSIST', prefix .. args[at])
  return at + 1
end

-- d name: delete a record or a set.
function writes.d(args, at)
  local name = args[at]
  if string.sub(name, 2, 2) == ':' then
    stamps[name], puts[name], gone[name] = '', nil, true
  else
    redis.call('DEL', prefix .. name)
  end
  return at + 1
end

-- a name score id: add an id to a bucket or listing, or give it another score.
function writes.a(args, at)
  add(args[at], args[at + 1], args[at + 2])
  return at + 3
end

-- r name id: take an id out of a bucket or listing; an empty bucket goes.
function writes.r(args, at)
  take(args[at], args[at + 1])
  return at + 2
end

-- h token score from to how: move a token from the session that held it to another; nothing for none. A transferable
-- one (how is x) may outlive its session, whose record then stays until it is deleted: when it ended says how long
-- the token may wait.
function writes.h(args, at)
  local id, score, from, to, transferable = args[at], args[at + 1], args[at + 2], args[at + 3], args[at + 4] == 'x'
  if from ~= '' then
    take('bh:' .. from, id)
    if transferable then
      take('lx:' .. from, id)
    end
  end
  if to ~= '' then
    add('bh:' .. to, score, id)
    if transferable then
      add('lx:' .. to, score, id)
      redis.call('PERSIST', prefix .. 's:' .. to)
    end
  end
  return at + 5
end

-- e body: add an event to the log; its place is the stamp of the commit, and how many that has added before.
function writes.e(args, at)
  redis.call('XADD', prefix .. 'ev', stamp .. '-*', 'e', args[at])
  return at + 1
end

-- Answer the first stamp that a call may give out: later than the clock and than the last one. Where that is not this
-- server's own (after a fail-over, restart, flush or restore) another branch of the data may have gone on from it, and
-- counting on would give its numbers out once more: so there is a leap beyond what that branch can have reached.
local function first_stamp(key, stored, time)
  local number = math.max(time[1] * 1000000 + time[2], tonumber(stored or 0) + 1)
  return stored and lasts[key .. stored] and number or math.max(number, (highest[key] or 0) + 1) + LEAP
end

-- Write the last stamp of a partition, and remember that it is ours.
local function write_stamp(key, stored, last)
  local text = string.format('%.0f', last)
  redis.call('SET', key, text)
  if stored then
    lasts[key .. stored] = nil
  end
  lasts[key .. text], highest[key] = true, math.max(last, highest[key] or 0)
end

local holder_of -- see library_v1_joint.lua

-- Carry out commits one after another, each whole or not at all:
-- judged_at, holds_until, how many checks, (name, stamp)…, how many words of writes, words…
-- Answer now, then the stamp of each that was written, and 0 for each that was refused because a stamp had moved or
-- now is not between its instants; for one that met what a commit over several partitions holds, who holds it.
local function commit(keys, args, first)
  local time = redis.call('TIME')
  local now, at = milliseconds(time), first or 1
  local stored = redis.call('GET', keys[1])
  local number = first_stamp(keys[1], stored, time)
  prefix, puts, gone, numbers = prefix_of(keys), {}, {}, {}
  local are_held = redis.call('EXISTS', prefix .. '0', prefix .. 'hq') == 1 -- as prefix_to_write
  local answers, last, has_written = {now}, number + read_stamps(args, at), false
  while args[at] do
    local holds = number_in(args[at]) <= now and now < number_in(args[at + 1])
    local checks_end = at + 2 + 2 * number_in(args[at + 2])
    for place = at + 3, checks_end, 2 do
      holds = holds and is_unchanged(args[place], args[place + 1])
    end
    local checks_from = at + 3
    at = checks_end + 2
    local words_end = at + number_in(args[checks_end + 1])
    local holder = are_held and holder_of(now, args, checks_from, at, words_end)
    if holds and not holder then
      if not has_written then
        has_written = true
        write_stamp(keys[1], stored, last)
      end
      stamp = text_of(number)
      while at < words_end do
        at = writes[args[at]](args, at + 1)
      end
    end
    at = words_end
    answers[#answers + 1] = holder or holds and number or 0
    number = number + 1
  end
  finish()
  return answers
end

redis.register_function('session_tokens_commit_v1', commit)
-- What ends things or frees space, and what is needed for it, is done by a server that is out of memory too.
redis.register_function{function_name = 'session_tokens_end_v1', callback = commit, flags = {'allow-oom'}}
