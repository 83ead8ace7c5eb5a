
-- Commits over several partitions. One partition decides, the others are held: what a commit read and writes there
-- stands as it was, but marked, and nobody else changes it until the commit is finished or released there.
--   h:txn   in a partition that is held: the names that it holds, and the writes to come
--   hq      transactions that hold something here, by when they began to
--   x:name  the transaction that holds a name, and how: w, it writes it; r, it only rests on it
--   d:txn   in the deciding partition: "done", its stamp there and the partitions to finish, or "void"
--   dq      transactions that are to be finished, by when they were decided
-- A held record has a letter in place of the first digit of its stamp: a..j (w), k..t (r); what is to stay absent
-- until then has a placeholder, z (w) or y (r). Of a held bucket the stamp is negative, -1 where there is none.

local LETTER_W, LETTER_R = 97 - 48, 107 - 48
local ABSENT_W, ABSENT_R = 'z000000000000000\n\n', 'y000000000000000\n\n'
local VOID_MS = 3600000 -- a decision that comes late finds that it is void; later than that it is too late by itself
local DONE_MS = 60000 -- who has read what was held then still learns what became of it

local LENGTHS = {p = 3, q = 3, k = 2, y = 1, d = 1, a = 3, r = 2, h = 5, e = 1}

local function is_bucket(name) return string.sub(name, 1, 1) == 'b' end

local function note(name, how, names, hows)
  if is_bucket(name) or string.sub(name, 2, 2) == ':' then
    if not hows[name] then names[#names + 1] = name end
    hows[name] = how
  end
end

-- Gather the names that a commit checks (r) and writes (w); listings, which have no stamps, are none.
local function gather(args, checks_from, words_from, words_end)
  local names, hows = {}, {}
  for place = checks_from, words_from - 2, 2 do note(args[place], 'r', names, hows) end
  local at = words_from
  while at < words_end do
    local what = args[at]
    if what == 'h' then
      for place = at + 3, at + 4 do
        if args[place] ~= '' then note('bh:' .. args[place], 'w', names, hows) end
      end
    elseif what ~= 'e' and what ~= 'y' then
      note(args[at + 1], 'w', names, hows)
    end
    at = at + 1 + LENGTHS[what]
  end
  return names, hows
end

-- Call a command with many keys, so many at once; answer all that it answers.
local function many(command, beginning, names)
  local answers = {}
  for first = 1, #names, KEYS_MAX do
    local keys = {}
    for place = first, math.min(#names, first + KEYS_MAX - 1) do
      keys[#keys + 1] = prefix .. beginning .. names[place]
    end
    local some = redis.call(command, unpack(keys))
    if type(some) == 'table' then
      for _, value in ipairs(some) do answers[#answers + 1] = value end
    end
  end
  return answers
end

-- Answer "txn age" of one who holds any of some names, nil where nobody does.
local function holder_in(now, names)
  for _, holder in ipairs(many('MGET', 'x:', names)) do
    if holder then
      local txn = string.match(holder, '^%S+')
      return string.format('%s %.0f', txn, now - (redis.call('ZSCORE', prefix .. 'hq', txn) or now))
    end
  end
end

holder_of = function(now, args, checks_from, words_from, words_end)
  return holder_in(now, (gather(args, checks_from, words_from, words_end)))
end

-- Mark a name as held.
local function mark(name, how, value)
  local key = prefix .. name
  if is_bucket(name) then
    redis.call('ZADD', key, value == '' and '-1' or '-' .. value, MARK)
  elseif value then
    local letter = string.char(string.byte(value) + (how == 'w' and LETTER_W or LETTER_R))
    redis.call('SET', key, letter .. string.sub(value, 2), 'KEEPTTL')
  else
    redis.call('SET', key, how == 'w' and ABSENT_W or ABSENT_R)
  end
end

-- Put things back as they were before they were marked.
local function unmark(name)
  local key = prefix .. name
  if is_bucket(name) then
    local score = redis.call('ZSCORE', key, MARK)
    if score == '-1' then
      redis.call('ZREM', key, MARK)
    elseif score and string.sub(score, 1, 1) == '-' then
      redis.call('ZADD', key, string.sub(score, 2), MARK)
    end
    return
  end
  local value = redis.call('GET', key)
  local letter = value and string.byte(value) or 0
  if letter >= 121 then
    redis.call('DEL', key)
  elseif letter >= 97 then
    local digit = string.char(letter - (letter >= 107 and LETTER_R or LETTER_W))
    redis.call('SET', key, digit .. string.sub(value, 2), 'KEEPTTL')
  end
end

-- Hold what a part of a commit checks and writes, if its checks hold and nobody else holds any of it.
-- txn judged_at holds_until, how many checks, (name, stamp)…, how many words of writes, words…
-- Answer now, and 1, or 0 where a stamp had moved or it is too late, or "txn age" of one who holds some of it.
local function hold(keys, args)
  local now, txn = milliseconds(redis.call('TIME')), args[1]
  prefix = prefix_to_write(keys)
  if redis.call('EXISTS', prefix .. 'h:' .. txn) == 1 then return {now, 1} end
  local words_from = 6 + 2 * tonumber(args[4])
  local names, hows = gather(args, 5, words_from, #args + 1)
  local holder = holder_in(now, names)
  if holder then return {now, holder} end
  if tonumber(args[2]) > now or now >= tonumber(args[3]) then return {now, 0} end
  local records, values = {}, {}
  for _, name in ipairs(names) do
    if is_bucket(name) then
      values[name] = redis.call('ZSCORE', prefix .. name, MARK) or ''
    else
      records[#records + 1] = name
    end
  end
  for place, value in ipairs(many('MGET', '', records)) do values[records[place]] = value end
  for place = 5, words_from - 2, 2 do
    local name, value = args[place], values[args[place]]
    local found = is_bucket(name) and value or value and string.sub(value, 1, STAMP_LENGTH) or ''
    if found ~= args[place + 1] then return {now, 0} end
  end
  local kept, held = {}, {}
  for place = words_from, #args do kept[#kept + 1] = args[place] end
  for _, name in ipairs(names) do
    mark(name, hows[name], values[name])
    held[#held + 1], held[#held + 2] = prefix .. 'x:' .. name, txn .. ' ' .. hows[name]
  end
  redis.call('ZADD', prefix .. 'hq', now, txn)
  redis.call('SET', prefix .. 'h:' .. txn, cmsgpack.pack(names, kept))
  for first = 1, #held, KEYS_MAX do
    redis.call('MSET', unpack(held, first, math.min(#held, first + KEYS_MAX - 1)))
  end
  return {now, 1}
end

-- Hold nothing for a transaction any more; answer the writes that it kept, nil where it holds nothing.
local function let_go(txn)
  local kept = redis.call('GET', prefix .. 'h:' .. txn)
  if not kept then return nil end
  local names, words = cmsgpack.unpack(kept)
  for _, name in ipairs(names) do unmark(name) end
  many('DEL', 'x:', names)
  redis.call('DEL', prefix .. 'h:' .. txn)
  redis.call('ZREM', prefix .. 'hq', txn)
  return words
end

-- Give up what a transaction holds that surely is not done and never will be.
-- txn. Answer whether it held something.
local function release(keys, args)
  prefix = prefix_to_write(keys)
  return let_go(args[1]) and 1 or 0
end

-- Carry out what is kept of a transaction that is done.
-- txn. Answer now, and its stamp here; 0 where it is finished already.
local function finish_held(keys, args)
  local time = redis.call('TIME')
  local now = milliseconds(time)
  local stored = redis.call('GET', keys[1])
  prefix, puts, gone, stamps = prefix_to_write(keys), {}, {}, {}
  local words = let_go(args[1])
  if not words then return {now, 0} end
  local number, at = first_stamp(keys[1], stored, time), 1
  write_stamp(keys[1], stored, number)
  stamp = string.format('%.0f', number)
  while words[at] do
    at = writes[words[at]](words, at + 1)
  end
  finish()
  return {now, number}
end

-- Carry out one commit as commit does, and record in the same instant that its transaction is done.
-- txn partitions…, one word; then as commit. Answer as commit, and where something is recorded already, 0 and that.
local function decide(keys, args)
  local key, txn = prefix_to_write(keys) .. 'd:' .. args[1], args[1]
  local said = redis.call('GET', key)
  if said then return {milliseconds(redis.call('TIME')), 0, said} end
  local answers = commit(keys, args, 3)
  if type(answers[2]) == 'number' and answers[2] ~= 0 then
    redis.call('SET', key, string.format('done %.0f %s', answers[2], args[2]))
    redis.call('ZADD', prefix .. 'dq', answers[1], txn)
  end
  return answers
end

-- Answer what is recorded of a transaction, empty for nothing.
-- txn how; how is keep: write once more what is recorded, so that who waits for replicas waits for that; void: the
-- same, and where nothing is, that it is void; settle: all is finished, and it may be forgotten in a while.
local function decision(keys, args)
  prefix = prefix_to_write(keys)
  local txn, how = args[1], args[2]
  local key = prefix .. 'd:' .. txn
  local said = redis.call('GET', key)
  if how == 'settle' then
    if said and said ~= 'void' then redis.call('SET', key, 'done', 'PX', DONE_MS) end
    redis.call('ZREM', prefix .. 'dq', txn)
  elseif said then
    redis.call('SET', key, said, 'KEEPTTL')
  elseif how == 'void' then
    said = 'void'
    redis.call('SET', key, said, 'PX', VOID_MS)
  end
  return said or ''
end

-- w count name…: who holds each name, how, for how long, and the stamp that it has meanwhile: "txn how age stamp", empty
-- for nobody.
function asks.w(partition, args, at, now)
  local answer, last = {}, at + tonumber(args[at])
  for place = at + 1, last do
    local name, said = args[place], ''
    local holder = redis.call('GET', partition .. 'x:' .. name)
    if holder then
      local found = is_bucket(name) and redis.call('ZSCORE', partition .. name, MARK)
        or not is_bucket(name) and redis.call('GET', partition .. name) or ''
      local since = redis.call('ZSCORE', partition .. 'hq', string.match(holder, '^%S+'))
      said = string.format('%s %.0f %s', holder, now - (since or now), string.match(found, '^%S*'))
    end
    answer[#answer + 1] = said
  end
  return answer, last + 1
end

-- v limit: who holds something here and for how long, each as "txn age", the oldest first.
function asks.v(partition, args, at, now)
  local rows = redis.call('ZRANGEBYSCORE', partition .. 'hq', '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, args[at])
  local answer = {}
  for place = 1, #rows, 2 do
    answer[#answer + 1] = string.format('%s %.0f', rows[place], now - rows[place + 1])
  end
  return answer, at + 1
end

-- u age limit: transactions that were decided here as long ago and are not settled, and what is recorded of each.
function asks.u(partition, args, at, now)
  local answer, until_then = {}, now - args[at]
  local old = redis.call('ZRANGEBYSCORE', partition .. 'dq', '-inf', until_then, 'LIMIT', 0, args[at + 1])
  for _, txn in ipairs(old) do
    answer[#answer + 1], answer[#answer + 2] = txn, redis.call('GET', partition .. 'd:' .. txn) or ''
  end
  return answer, at + 2
end

redis.register_function('session_tokens_hold_v1', hold)
redis.register_function('session_tokens_decide_v1', decide)
redis.register_function{function_name = 'session_tokens_hold_end_v1', callback = hold, flags = {'allow-oom'}}
redis.register_function{function_name = 'session_tokens_decide_end_v1', callback = decide, flags = {'allow-oom'}}
redis.register_function{function_name = 'session_tokens_finish_v1', callback = finish_held, flags = {'allow-oom'}}
redis.register_function{function_name = 'session_tokens_release_v1', callback = release, flags = {'allow-oom'}}
redis.register_function{function_name = 'session_tokens_decision_v1', callback = decision, flags = {'allow-oom'}}
