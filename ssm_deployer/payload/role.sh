# The instance's own role, for `--delivery role`: s3://BUCKET/KEY by the AWS CLI, else by a curl that can sign.

choose_fetcher() {
  region=${region:-${AWS_SSM_REGION_NAME:-}}
  if usable aws; then
    fetcher=aws
  elif usable curl && curl_signs; then
    fetcher=curl
    borrow
  else
    refuse no-fetch-tool "neither the AWS CLI nor curl 7.88 or later$broken"
  fi
}

# curl_signs: --aws-sigv4 is older, but left the session token unsigned (7.81 in curl/curl#11738), which S3 refuses;
# 7.88 is the oldest seen to sign it.
curl_signs() {
  # shellcheck disable=SC2046 # two numbers
  set -- $(curl --version | sed -n '1s/^curl \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  [ $((${1:-0} * 1000 + ${2:-0})) -ge 7088 ]
}

# get s3://BUCKET/KEY FILE: set `http`, the status or 000, and `said` where the last line of the note does not say it.
get() {
  bucket=${1#s3://}
  key=${bucket#*/}
  bucket=${bucket%%/*}
  case $fetcher in
  aws) by_aws "$2" ;;
  curl) by_sigv4 "$2" ;;
  esac 2>"$work/note"
}

# The home is that of whom it runs as: what a user's ~/.aws names is not to be started by root.
by_aws() {
  HOME=$own_home aws s3api get-object --bucket "$bucket" --key "$key" ${region:+--region "$region"} \
    ${endpoint:+--endpoint-url "$endpoint"} "$1" >/dev/null && http=200 && return
  set -- $?
  said=$(sed -n 's/.*error occurred (\([A-Za-z0-9]*\)).*/\1/p' "$work/note")
  case $said in
  *[Tt]imeout* | SlowDown | InternalError | ServiceUnavailable) ;;
  ?*) http=403 ;;
  *) ! grep -q credentials "$work/note" || refuse no-credentials "$(cat "$work/note")" ;;
  esac
  return "$1"
}

# borrow: set the role's temporary credentials, from IMDSv2.
borrow() {
  imds=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest
  token=$(ask "$imds/api/token" 'X-aws-ec2-metadata-token-ttl-seconds: 300' -X PUT)
  role=$(ask "$imds/meta-data/iam/security-credentials/" "X-aws-ec2-metadata-token: $token")
  credentials=$(ask "$imds/meta-data/iam/security-credentials/$role" "X-aws-ec2-metadata-token: $token") ||
    refuse no-credentials 'the instance metadata service names no role'
  access_key=$(member AccessKeyId) secret_key=$(member SecretAccessKey) session=$(member Token)
}

ask() {
  url=$1 header=$2
  shift 2
  echo "header = \"$header\"" | curl -q -s -f --noproxy '*' --max-time 5 "$@" -K - "$url"
}

member() { echo "$credentials" | sed -n "s/.*\"$1\" *: *\"\\([^\"]*\\)\".*/\\1/p"; }

by_sigv4() {
  case $region in cn-*) domain=amazonaws.com.cn ;; *) domain=amazonaws.com ;; esac
  http=$({
    echo "url = \"${endpoint:-https://s3.$region.$domain}/$bucket/$key\""
    echo "user = \"$access_key:$secret_key\""
    echo "aws-sigv4 = \"aws:amz:$region:s3\""
    echo "header = \"x-amz-security-token: $session\""
    echo 'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"'
  } | curl -q -sS -f --connect-timeout 10 --max-time "$seconds" -o "$1" -w '%{http_code}' -K -) || return
  [ "$http" = 200 ]
}
