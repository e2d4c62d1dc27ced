-- Cached messages in Redis: one operation on one token, or a step of the sweep of one shard; all or nothing of it.
--
-- KEYS[1] is the name of a shard, with its hash tag. All keys that are touched begin with it, so they are on the same
-- node of a cluster as it. Of a shard:
--   :all      hash    m messages, b bytes, f the greatest number of a forgotten token
--   :due      zset    token by the expiry of its first to expire, or before
--   :recent   zset    key .. token by the time until which the key is known, of messages that have gone
--   :idle     zset    token by the time at which its last message went
-- and of a token:
--   :t:       hash    n newest number, m messages, b bytes; c.. number of the message of a collapse key;
--                     M.. messages and B.. bytes of a sender; r.. request id of the message of a number, where there is
--                     one, and i if there ever was: here, so that scripts of the version before, which know neither,
--                     forget them with the token
--   :l:       zset    message by number. A message is packed as messages_redis.py says
--   :e:       zset    number by expiry
--   :k:       hash    number by key, of the messages that are there, and of recent ones
-- ARGV: operation, now (Unix ms), recent_ms, recent_max, overhead, then what the operation needs.

local HEADER = 31
local base, operation, now = KEYS[1], ARGV[1], tonumber(ARGV[2])
local recent_ms, recent_max, overhead = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local all, due, recent, idle = base .. ':all', base .. ':due', base .. ':recent', base .. ':idle'
local token, meta, line, ends, keys

local function use(name)
  token = name
  meta, line, ends, keys = base .. ':t:' .. name, base .. ':l:' .. name, base .. ':e:' .. name, base .. ':k:' .. name
end

local function whole(key, field)
  return tonumber(redis.call('HGET', key, field) or 0)
end

local function request_field(seq)
  return string.format('r%.0f', seq)
end

-- '' where there is none.
local function request_id_of(seq)
  return redis.call('HGET', meta, request_field(seq)) or ''
end

local function unpacked(message)
  local sender_bytes, collapse_bytes = string.byte(message, 29), struct.unpack('>H', message, 30)
  local collapse, behind = nil, HEADER + sender_bytes
  if collapse_bytes ~= 65535 then
    collapse, behind = string.sub(message, behind + 1, behind + collapse_bytes), behind + collapse_bytes
  end
  local payload_bytes = #message - behind
  return string.sub(message, HEADER + 1, HEADER + sender_bytes), collapse, payload_bytes, struct.unpack('>I8', message, 19)
end

local function count(sender, messages, bytes)
  redis.call('HINCRBY', all, 'm', messages)
  redis.call('HINCRBY', all, 'b', bytes)
  redis.call('HINCRBY', meta, 'm', messages)
  redis.call('HINCRBY', meta, 'b', bytes)
  redis.call('HINCRBY', meta, 'B' .. sender, bytes)
  if redis.call('HINCRBY', meta, 'M' .. sender, messages) == 0 then
    redis.call('HDEL', meta, 'M' .. sender, 'B' .. sender)
  end
end

local function remember(key)
  redis.call('ZADD', recent, now + recent_ms, key .. token)
  if redis.call('ZCARD', recent) > recent_max then
    local oldest = redis.call('ZPOPMIN', recent)[1]
    redis.call('HDEL', base .. ':k:' .. string.sub(oldest, 19), string.sub(oldest, 1, 18))
  end
end

local function remove(seq)
  local message = redis.call('ZRANGEBYSCORE', line, seq, seq)[1]
  if not message then
    return 0
  end
  local sender, collapse, payload_bytes = unpacked(message)
  redis.call('ZREMRANGEBYSCORE', line, seq, seq)
  redis.call('ZREM', ends, seq)
  if collapse then
    redis.call('HDEL', meta, request_field(seq), 'c' .. collapse)
  else
    redis.call('HDEL', meta, request_field(seq))
  end
  count(sender, -1, -payload_bytes - overhead)
  remember(string.sub(message, 1, 18))
  if whole(meta, 'm') == 0 then
    redis.call('ZREM', due, token)
    redis.call('ZADD', idle, now, token)
  end
  return 1
end

local function remove_each(seqs)
  local removed = 0
  for _, seq in ipairs(seqs) do
    removed = removed + remove(seq)
  end
  return removed
end

-- As services.storage.messages.victim.
local function victim(newcomer, by)
  local most, goes, fields = 0, {}, redis.call('HGETALL', meta)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == by then
      local sender, has = string.sub(fields[i], 2), tonumber(fields[i + 1])
      if has > most then
        most, goes = has, {}
      end
      if has == most then
        goes[sender] = true
      end
    end
  end
  if goes[newcomer] then
    goes = { [newcomer] = true }
  end
  for first = 0, math.huge, 50 do
    local rows = redis.call('ZRANGE', line, first, first + 49, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if goes[unpacked(rows[i])] then
        return rows[i + 1]
      end
    end
  end
end

local function number_of(key)
  local seq = redis.call('HGET', keys, key)
  if not seq or redis.call('ZCOUNT', line, seq, seq) == 1 then
    return seq
  end
  local known_until = redis.call('ZSCORE', recent, key .. token)
  return known_until and tonumber(known_until) > now and seq
end

local function store(expires, collapse, sender, most, most_bytes, room, drops_oldest, least, message, request_id)
  local key = string.sub(message, 1, 18)
  local known = number_of(key)
  if known then
    return { 'copy', tonumber(known) }
  end
  local _, _, payload_bytes = unpacked(message)
  local size, older, saved = payload_bytes + overhead, false, 0

  local function look_for_older()
    older, saved = collapse ~= '' and redis.call('HGET', meta, collapse), 0
    if older then
      local _, _, older_bytes = unpacked(redis.call('ZRANGEBYSCORE', line, older, older)[1])
      saved = older_bytes + overhead
    end
  end
  local function too_many()
    return whole(meta, 'm') - (older and 1 or 0) >= most
  end
  local function is_over()
    return too_many() or whole(meta, 'b') - saved + size > most_bytes
  end

  look_for_older()
  if is_over() then
    remove_each(redis.call('ZRANGEBYSCORE', ends, '-inf', now))
    look_for_older()
  end
  if size > most_bytes or size - saved > room or (is_over() and not drops_oldest) then
    return { 'full' }
  end
  local collapsed = older and 1 or 0
  if older then
    remove(older)
    older, saved = false, 0
  end
  local dropped = 0
  while is_over() do
    remove(victim(sender, too_many() and 'M' or 'B'))
    dropped = dropped + 1
  end

  local last = redis.call('HGET', meta, 'n')
  local seq = math.max(tonumber(last or whole(all, 'f')) + 1, least)
  redis.call('HSET', meta, 'n', seq)
  redis.call('ZADD', line, seq, message)
  redis.call('ZADD', ends, expires, seq)
  redis.call('HSET', keys, key, seq)
  redis.call('ZREM', recent, key .. token)
  if request_id ~= '' then
    redis.call('HSET', meta, request_field(seq), request_id, 'i', 1)
  end
  if collapse ~= '' then
    redis.call('HSET', meta, collapse, seq)
  end
  count(sender, 1, size)
  redis.call('ZADD', due, 'LT', expires, token)
  redis.call('ZREM', idle, token)
  return { 'stored', seq, dropped, collapsed }
end

local function read(after, most, most_bytes)
  local result, got, bytes = { 'messages', whole(meta, 'n'), 0 }, 0, 0
  local has_request_ids = redis.call('HEXISTS', meta, 'i') == 1
  while true do
    local rows = redis.call('ZRANGEBYSCORE', line, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, 20)
    if #rows == 0 then
      return result
    end
    for i = 1, #rows, 2 do
      local _, _, payload_bytes, expires = unpacked(rows[i])
      if expires > now then
        bytes = bytes + payload_bytes
        if got == most or (got > 0 and bytes > most_bytes) then
          result[3] = 1
          return result
        end
        got = got + 1
        result[#result + 1] = tonumber(rows[i + 1])
        result[#result + 1] = rows[i]
        result[#result + 1] = has_request_ids and request_id_of(rows[i + 1]) or ''
      end
    end
    after = rows[#rows]
  end
end

local function expire(most)
  local expired = 0
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)) do
    use(name)
    expired = expired + remove_each(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, most - expired))
    local first = redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')
    if first[1] then
      redis.call('ZADD', due, first[2], name)
    end
    if expired >= most then
      break
    end
  end
  return expired
end

local function expiring(most)
  local found, number = { 'expiring' }, 0
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)) do
    use(name)
    for _, seq in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, most - number)) do
      local message = redis.call('ZRANGEBYSCORE', line, seq, seq)[1]
      found[#found + 1] = name
      found[#found + 1] = string.sub(message, 1, 18)
      found[#found + 1] = request_id_of(seq)
      number = number + 1
    end
    if number >= most then
      break
    end
  end
  return found
end

local function forget_keys(most)
  local members = redis.call('ZRANGEBYSCORE', recent, '-inf', now, 'LIMIT', 0, most)
  for _, member in ipairs(members) do
    redis.call('HDEL', base .. ':k:' .. string.sub(member, 19), string.sub(member, 1, 18))
    redis.call('ZREM', recent, member)
  end
  return #members
end

local function forget_tokens(most, idle_ms)
  local names = redis.call('ZRANGEBYSCORE', idle, '-inf', now - idle_ms, 'LIMIT', 0, most)
  for _, name in ipairs(names) do
    use(name)
    redis.call('HSET', all, 'f', math.max(whole(all, 'f'), whole(meta, 'n')))
    redis.call('DEL', meta, keys)
    redis.call('ZREM', idle, name)
  end
  return #names
end

local result
if operation == 'sweep' then
  local most, idle_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
  local expired, forgotten, names = expire(most), forget_keys(most), forget_tokens(most, idle_ms)
  local more = expired >= most or forgotten >= most or names >= most
  result = { 'swept', expired, more and 1 or 0 }
elseif operation == 'expiring' then
  result = expiring(tonumber(ARGV[6]))
elseif operation == 'totals' then
  result = { 'totals', whole(all, 'm') }
else
  use(ARGV[6])
  if operation == 'store' then
    local message = ARGV[15]
    result = store(ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]),
      ARGV[13] == '1', tonumber(ARGV[14]), message, ARGV[16])
  elseif operation == 'read' then
    result = read(ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]))
  elseif operation == 'drop' then
    local seqs = {}
    for i = 7, #ARGV do
      seqs[#seqs + 1] = ARGV[i]
    end
    result = { 'dropped', remove_each(seqs) }
  elseif operation == 'clear' then
    result = { 'cleared', remove_each(redis.call('ZRANGE', ends, 0, -1)) }
  else
    result = { 'count', whole(meta, 'm'), whole(meta, 'b') }
  end
end
return { whole(all, 'b'), result }
