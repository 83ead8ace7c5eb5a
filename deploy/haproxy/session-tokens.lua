-- Asks session-tokens whether a request carries a living session. HAProxy 2.6 or later, and nothing else installed.
--
-- http-request lua.living_session ADDRESS OWNER_HEADER ASKED
--
-- asks at ADDRESS, such as 127.0.0.1:8080 or unix@/run/session-tokens/http.sock, for ASKED, such as forward-auth or
-- forward-auth?recent=600. It sets txn.session_owner and txn.session_id where it does; else txn.session_refused to the
-- status to answer (400, 401, 403, 429, 431, 303, or 503 where session-tokens could not be asked) with txn.session_challenge
-- (WWW-Authenticate), txn.session_log_in (where a 303 leads) and txn.session_retry_after.
-- The page's method is told in a header; its body stays where it is.

local ASKED_WITH = { "authorization", "cookie", "accept", "host" }
local REFUSED = { [400] = true, [401] = true, [403] = true, [429] = true, [431] = true }
local TIMEOUT_MS = 5000

core.register_action("living_session", { "http-req" }, function(txn, address, owner_header, asked)
    local page, headers = txn.http:req_get_headers(), {}
    for _, name in ipairs(ASKED_WITH) do
        if page[name] then
            headers[name] = {}
            for _, value in pairs(page[name]) do
                table.insert(headers[name], value)
            end
        end
    end
    headers["x-forwarded-method"] = { txn.f:method() }
    headers["x-forwarded-uri"] = { txn.f:pathq() }

    local is_socket = address:sub(1, 5) == "unix@"
    local answer = core.httpclient():get({
        url = "http://" .. (is_socket and "127.0.0.1" or address) .. "/" .. asked,
        dst = is_socket and address or nil, headers = headers, timeout = TIMEOUT_MS
    })
    local function told(name)
        for _, value in pairs((answer.headers or {})[name] or {}) do
            return value
        end
    end

    txn:set_var("txn.session_retry_after", told("retry-after") or "1")
    txn:set_var("txn.session_challenge", told("www-authenticate") or "Bearer")
    if answer.status == 204 and told(owner_header:lower()) then
        txn:set_var("txn.session_owner", told(owner_header:lower()))
        txn:set_var("txn.session_id", told("x-session-id"))
    elseif answer.status == 303 and told("location") then
        txn:set_var("txn.session_refused", 303)
        txn:set_var("txn.session_log_in", told("location"))
    else
        txn:set_var("txn.session_refused", REFUSED[answer.status] and answer.status or 503)
    end
end, 3)
