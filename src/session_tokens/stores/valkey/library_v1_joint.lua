
-- Commits over several partitions. One partition decides, the others are held: what a commit read and writes there
-- stands as it was, but marked, and nobody else changes it until the commit is finished or released there.
--   h:txn   in a partition that is held: the names that it holds, and the writes to come
--   hq      transactions that hold something here, by when they began to
--   x:name  how a name is held, and by which transactions: w, by one that writes it; r, by some that only rest on it;
--           a, a bucket by some that only add members or take some out, whatever else is in it; a member of a bucket
--           is held by one, under the name m:bucket member
--   d:txn   in the deciding partition: "done", its stamp there and the partitions to finish, or "void"
--   dq      transactions that are to be finished, by when they were decided
-- A held record has a letter in place of the first digit of its stamp: a..j (w), k..t (r); what is to stay absent
-- until then has a placeholder, z (w) or y (r). Of a held bucket the stamp is negative, -1 where there is none.
-- Those that hold a name alike, but for w, do so beside each other.

local LETTER_W, LETTER_R = 97 - 48, 107 - 48
local ABSENT_W, ABSENT_R = 'z000000000000000\n\n', 'y000000000000000\n\n'
local VOID_MS = 3600000 -- a decision that comes late finds that it is void; later than that it is too late by itself
local DONE_MS = 60000 -- who has read what was held then still learns what became of it

local LENGTHS = {p = 3, q = 3, k = 2, y = 1, d = 1, a = 3, r = 2, h = 5, e = 1, f = 2}
local UNNAMED = {e = true, f = true, y = true}

local function is_bucket(name) return string.sub(name, 1, 1) == 'b' end

local function is_member(name) return string.sub(name, 1, 2) == 'm:' end

local function note(name, how, names, hows)
  if is_bucket(name) or string.sub(name, 2, 2) == ':' then
    local before = hows[name]
    if not before then names[#names + 1] = name end
    hows[name] = (not before or before == how) and how or 'w'
  end
end

-- Two that add or take out the same member are not to be finished in another order than they were decided in.
local function note_member(bucket, id, names, hows)
  if is_bucket(bucket) then
    note(bucket, 'a', names, hows)
    note('m:' .. bucket .. ' ' .. id, 'w', names, hows)
  end
end

-- Gather the names that a commit needs, and how; listings, which have no stamps, are none.
local function gather(args, checks_from, words_from, words_end)
  local names, hows = {}, {}
  for place = checks_from, words_from - 2, 2 do note(args[place], 'r', names, hows) end
  local at = words_from
  while at < words_end do
    local what = args[at]
    if what == 'h' then
      for place = at + 3, at + 4 do
        if args[place] ~= '' then note_member('bh:' .. args[place], args[at + 1], names, hows) end
      end
    elseif what == 'a' or what == 'r' then
      note_member(args[at + 1], args[at + LENGTHS[what]], names, hows)
    elseif not UNNAMED[what] then
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

-- Answer "txn age" of one who holds any of some names otherwise than is wanted, nil where nobody does; and who holds
-- each.
local function holder_in(now, names, hows)
  local holders = many('MGET', 'x:', names)
  for place, holder in ipairs(holders) do
    local how = holder and string.sub(holder, 1, 1)
    if how and (how == 'w' or not hows or hows[names[place]] ~= how) then
      local txn = string.match(holder, '^%S+ (%S+)')
      return string.format('%s %.0f', txn, now - (redis.call('ZSCORE', prefix .. 'hq', txn) or now)), holders
    end
  end
  return nil, holders
end

holder_of = function(now, args, checks_from, words_from, words_end)
  return (holder_in(now, (gather(args, checks_from, words_from, words_end))))
end

-- What a record or the stamp of a bucket is without a mark; false for what was not there.
local function unmarked(value)
  local first = value and string.byte(value) or 0
  if first == 45 then return value ~= '-1' and string.sub(value, 2) end
  if first < 97 then return value end
  return first < 121 and string.char(first - (first >= 107 and LETTER_R or LETTER_W)) .. string.sub(value, 2)
end

-- Mark a name as held.
local function mark(name, how, value)
  local key = prefix .. name
  if is_member(name) then return end
  if is_bucket(name) then
    redis.call('ZADD', key, value and '-' .. value or '-1', MARK)
  elseif value then
    local letter = string.char(string.byte(value) + (how == 'w' and LETTER_W or LETTER_R))
    redis.call('SET', key, letter .. string.sub(value, 2), 'KEEPTTL')
  else
    redis.call('SET', key, how == 'w' and ABSENT_W or ABSENT_R)
  end
end

-- Put things back as they were before they were marked.
local function unmark(name)
  if is_member(name) then return end
  local key, bucket = prefix .. name, is_bucket(name)
  local value
  if bucket then value = redis.call('ZSCORE', key, MARK) else value = redis.call('GET', key) end
  local before = unmarked(value)
  if before == value then return end
  if bucket and before then
    redis.call('ZADD', key, before, MARK)
  elseif bucket then
    redis.call('ZREM', key, MARK)
  elseif before then
    redis.call('SET', key, before, 'KEEPTTL')
  else
    redis.call('DEL', key)
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
  local holder, holders = holder_in(now, names, hows)
  if holder then return {now, holder} end
  if tonumber(args[2]) > now or now >= tonumber(args[3]) then return {now, 0} end
  local records, values = {}, {}
  for _, name in ipairs(names) do
    if is_bucket(name) then
      values[name] = unmarked(redis.call('ZSCORE', prefix .. name, MARK))
    elseif not is_member(name) then
      records[#records + 1] = name
    end
  end
  for place, value in ipairs(many('MGET', '', records)) do values[records[place]] = unmarked(value) end
  for place = 5, words_from - 2, 2 do
    local value = values[args[place]]
    if (value and string.sub(value, 1, STAMP_LENGTH) or '') ~= args[place + 1] then return {now, 0} end
  end
  local kept, held = {}, {}
  for place = words_from, #args do kept[#kept + 1] = args[place] end
  for place, name in ipairs(names) do
    if not holders[place] then mark(name, hows[name], values[name]) end
    held[#held + 1], held[#held + 2] = prefix .. 'x:' .. name, (holders[place] or hows[name]) .. ' ' .. txn
  end
  redis.call('ZADD', prefix .. 'hq', now, txn)
  redis.call('SET', prefix .. 'h:' .. txn, cmsgpack.pack(names, kept))
  for first = 1, #held, KEYS_MAX do
    redis.call('MSET', unpack(held, first, math.min(#held, first + KEYS_MAX - 1)))
  end
  return {now, 1}
end

-- Hold nothing for a transaction any more; answer the writes that it kept, nil where it holds nothing, and the buckets
-- that others go on holding.
local function let_go(txn)
  local kept = redis.call('GET', prefix .. 'h:' .. txn)
  if not kept then return nil end
  local names, words = cmsgpack.unpack(kept)
  local free, shared = {}, {}
  for place, holder in ipairs(many('MGET', 'x:', names)) do
    local name, others = names[place], ''
    for other in string.gmatch(string.sub(holder or '', 2), '%S+') do
      if other ~= txn then others = others .. ' ' .. other end
    end
    if others == '' then
      unmark(name)
      free[#free + 1] = name
    else
      redis.call('SET', prefix .. 'x:' .. name, string.sub(holder, 1, 1) .. others)
      if is_bucket(name) then shared[#shared + 1] = name end
    end
  end
  many('DEL', 'x:', free)
  redis.call('DEL', prefix .. 'h:' .. txn)
  redis.call('ZREM', prefix .. 'hq', txn)
  return words, shared
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
  local words, shared = let_go(args[1])
  if not words then return {now, 0} end
  local number, at = first_stamp(keys[1], stored, time), 1
  write_stamp(keys[1], stored, number)
  stamp = string.format('%.0f', number)
  while words[at] do
    at = writes[words[at]](words, at + 1)
  end
  finish()
  for _, name in ipairs(shared) do
    local score = redis.call('ZSCORE', prefix .. name, MARK)
    if not score or string.sub(score, 1, 1) ~= '-' then mark(name, 'a', score) end
  end
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

-- w count name…: how each name is held, the stamp that it has meanwhile, and by whom for how long, "how stamp", then
-- " txn age" of each; empty for nobody.
function asks.w(partition, args, at, now)
  local answer, last = {}, at + tonumber(args[at])
  for place = at + 1, last do
    local name, said = args[place], ''
    local holder = redis.call('GET', partition .. 'x:' .. name)
    if holder then
      local found
      if is_bucket(name) then
        found = redis.call('ZSCORE', partition .. name, MARK) or ''
      else
        found = string.sub(redis.call('GET', partition .. name) or '', 1, STAMP_LENGTH)
      end
      said = string.sub(holder, 1, 1) .. ' ' .. found
      for txn in string.gmatch(string.sub(holder, 2), '%S+') do
        said = string.format('%s %s %.0f', said, txn, now - (redis.call('ZSCORE', partition .. 'hq', txn) or now))
      end
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
