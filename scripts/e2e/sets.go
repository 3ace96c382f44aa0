package main

import "slices"

// sets are the parts of the tests that exercise etcdctl, as regular expressions on "package/test". The rest of etcd's tests is about
// the server.
func sets() map[string][]string {
	data := []string{
		`common/Test(KV|Lease|Txn).*`, `common/Test(Watch|Compact|Authority)`,
		`e2e/TestCtlV3(Put|Del|Lease|Lock|MakeMirror|Watch|GetRevokedCRL).*`,
		`e2e/TestCtlV3Get(Timeout|Format|Rev|MinMaxCreateModRev|KeysOnly|CountOnly)`,
		`e2e/TestCtlV3(SerializableRead|LinearizableRead|CompletionBash|Elect|Version|DialWithHTTPScheme)`,
		`e2e/Test(RestoreCompactionRevBump|EtcdAdvertiseClientUnix|Gateway|ConnectionMultiplexing|V3Metrics(Secure|Insecure))`,
	}
	admin := []string{
		`common/Test(Alarm|Auth[A-Z]|Defrag|Endpoint|VerifyHashKV|HashKV|Status|Member|Role|User|WaitLeader).*`, `common/TestRootRole`,
		`e2e/TestCtlV3(Auth|Role|Member|MoveLeader|Snapshot).*`, `e2e/TestCtlV3(GetAuthStatus|ConsistentMemberList|DefragOffline)`,
		`e2e/Test(AuthCluster|RemoveNonExistingMember|Issue6361|WatchWithLowPermissionUser)`, `e2e/Test(Auth_CVE_|MemberReplace).*`,
		`e2e/TestDowngrade(UpgradeClusterOf1|CancellationWithoutEnablingClusterOf1|CancellationRightAfterEnablingClusterOf1)`,
	}
	ci := []string{
		`common/Test(KVPut|KVGet|KVGetStream|KVDelete|TxnSucc|TxnFail|Watch|Compact|LeaseGrantRevoke|RoleAdd_Simple|UserAdd_Simple|MemberList|EndpointHealth|AlarmDisarm)`,
		`e2e/TestCtlV3(CompletionBash|Elect|Version|LockWithCmd|Lock|PutIgnoreLease|GetFormat|GetCountOnly|DelTimeout|MakeMirror|SnapshotNoConfig|WatchTimeout|Watch|AuthEnable|RoleAddTimeout|MemberList)`,
		`e2e/TestRestoreCompactionRevBump`,
	}
	return map[string][]string{"data": data, "admin": admin, "ci": ci, "all": slices.Concat(data, admin)}
}
