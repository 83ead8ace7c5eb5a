// Asks session-tokens about a request, for nginx with njs: forward-auth-njs.conf says where.
// What it answers goes on as it is: auth_request would make 500 of a redirect and of an outage, and lose their headers.

const TOLD = ['Retry-After', 'WWW-Authenticate'];
const REFUSED = [400, 401, 403, 429, 431];

async function guard(r) {
    const answer = await r.subrequest('/-/session', { method: 'GET' });
    if (answer.status === 204) {
        r.variables.session_owner = answer.headersOut['X-Session-Owner'];
        r.variables.session_id = answer.headersOut['X-Session-Id'];
        r.internalRedirect('@application');
        return;
    }
    if (answer.status === 303) {
        r.return(303, answer.headersOut['Location']);
        return;
    }
    TOLD.filter((name) => answer.headersOut[name]).forEach((name) => {
        r.headersOut[name] = answer.headersOut[name];
    });
    const isRefused = REFUSED.includes(answer.status);
    if (!isRefused && !answer.headersOut['Retry-After']) {
        r.headersOut['Retry-After'] = '1';
    }
    r.return(isRefused ? answer.status : 503);
}

export default { guard };
