"""Names of ATT&CK techniques by id, and where MITRE describes them.

The 50 techniques of the catalog's `tram-attack`, from MITRE ATT&CK under its terms of use:

"(c) 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of The
MITRE Corporation."

The MITRE Corporation (MITRE) hereby grants you a non-exclusive, royalty-free license to use ATT&CK
for research, development, and commercial purposes. Any copy you make for such purposes is
authorized provided that you reproduce MITRE's copyright designation and this license in any such
copy. ALL DOCUMENTS AND THE INFORMATION CONTAINED THEREIN ARE PROVIDED ON AN "AS IS" BASIS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ID = re.compile(r"T\d{4}(?:\.\d{3})?")


def name_of(technique: str) -> str:
    """The technique's name; empty if it is not one of these."""
    return NAMES.get(technique, "")


def link_to(technique: str) -> str:
    """The address of MITRE's page about a technique; empty if this is no id of one."""
    if _ID.fullmatch(technique) is None:
        return ""
    return f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}/"


NAMES: Mapping[str, str] = {
    "T1003.001": "OS Credential Dumping: LSASS Memory",
    "T1005": "Data from Local System",
    "T1012": "Query Registry",
    "T1016": "System Network Configuration Discovery",
    "T1021.001": "Remote Services: Remote Desktop Protocol",
    "T1027": "Obfuscated Files or Information",
    "T1033": "System Owner/User Discovery",
    "T1036.005": "Masquerading: Match Legitimate Resource Name or Location",
    "T1041": "Exfiltration Over C2 Channel",
    "T1047": "Windows Management Instrumentation",
    "T1053.005": "Scheduled Task/Job: Scheduled Task",
    "T1055": "Process Injection",
    "T1056.001": "Input Capture: Keylogging",
    "T1057": "Process Discovery",
    "T1059.003": "Command and Scripting Interpreter: Windows Command Shell",
    "T1068": "Exploitation for Privilege Escalation",
    "T1070.004": "Indicator Removal: File Deletion",
    "T1071.001": "Application Layer Protocol: Web Protocols",
    "T1072": "Software Deployment Tools",
    "T1074.001": "Data Staged: Local Data Staging",
    "T1078": "Valid Accounts",
    "T1082": "System Information Discovery",
    "T1083": "File and Directory Discovery",
    "T1090": "Proxy",
    "T1095": "Non-Application Layer Protocol",
    "T1105": "Ingress Tool Transfer",
    "T1106": "Native API",
    "T1110": "Brute Force",
    "T1112": "Modify Registry",
    "T1113": "Screen Capture",
    "T1140": "Deobfuscate/Decode Files or Information",
    "T1190": "Exploit Public-Facing Application",
    "T1204.002": "User Execution: Malicious File",
    "T1210": "Exploitation of Remote Services",
    "T1218.011": "System Binary Proxy Execution: Rundll32",
    "T1219": "Remote Access Tools",
    "T1484.001": "Domain or Tenant Policy Modification: Group Policy Modification",
    "T1518.001": "Software Discovery: Security Software Discovery",
    "T1543.003": "Create or Modify System Process: Windows Service",
    "T1547.001": "Boot or Logon Autostart Execution: Registry Run Keys / Startup Folder",
    "T1548.002": "Abuse Elevation Control Mechanism: Bypass User Account Control",
    "T1552.001": "Unsecured Credentials: Credentials In Files",
    "T1557.001": "Adversary-in-the-Middle: LLMNR/NBT-NS Poisoning and SMB Relay",
    "T1562.001": "Impair Defenses: Disable or Modify Tools",
    "T1564.001": "Hide Artifacts: Hidden Files and Directories",
    "T1566.001": "Phishing: Spearphishing Attachment",
    "T1569.002": "System Services: Service Execution",
    "T1570": "Lateral Tool Transfer",
    "T1573.001": "Encrypted Channel: Symmetric Cryptography",
    "T1574.002": "Hijack Execution Flow: DLL Side-Loading",
}
