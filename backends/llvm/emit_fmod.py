"""The exact floating-point remainder as LLVM text: C's fmod without a library call.

Long division on the 53-bit fractions, 11 quotient bits a step: (fraction << 11) fits 64 bits, and a remainder of the
fractions is a remainder of the numbers while the exponents come together. f32 and the 16-bit floats go through f64,
where their remainder is exact too.
"""

from __future__ import annotations

NAME = "chainrule.fmod"

TEXT = """\
define internal double @chainrule.fmod(double %x, double %y) #1 {
entry:
  %ax = call double @llvm.fabs.f64(double %x)
  %ay = call double @llvm.fabs.f64(double %y)
  %ux = bitcast double %ax to i64
  %uy = bitcast double %ay to i64
  %ox = icmp uge i64 %ux, 9218868437227405312
  %ny = icmp ugt i64 %uy, 9218868437227405312
  %zy = icmp eq i64 %uy, 0
  %b1 = or i1 %ox, %ny
  %bad = or i1 %b1, %zy
  br i1 %bad, label %nan, label %real
nan:
  ret double 0x7FF8000000000000
real:
  %small = icmp ult i64 %ux, %uy
  br i1 %small, label %same, label %start
same:
  ret double %x
start:
  %rx = lshr i64 %ux, 52
  %ry = lshr i64 %uy, 52
  %ex = call i64 @llvm.umax.i64(i64 %rx, i64 1)
  %ey = call i64 @llvm.umax.i64(i64 %ry, i64 1)
  %fx = and i64 %ux, 4503599627370495
  %fy = and i64 %uy, 4503599627370495
  %hx = icmp ne i64 %rx, 0
  %hy = icmp ne i64 %ry, 0
  %ix = select i1 %hx, i64 4503599627370496, i64 0
  %iy = select i1 %hy, i64 4503599627370496, i64 0
  %mx = or i64 %fx, %ix
  %my = or i64 %fy, %iy
  %safe = call i64 @llvm.umax.i64(i64 %my, i64 1)
  %first = urem i64 %mx, %safe
  %gap = sub i64 %ex, %ey
  br label %test
test:
  %m = phi i64 [ %first, %start ], [ %next, %turn ]
  %left = phi i64 [ %gap, %start ], [ %less, %turn ]
  %more = icmp sgt i64 %left, 0
  br i1 %more, label %turn, label %done
turn:
  %step = call i64 @llvm.umin.i64(i64 %left, i64 11)
  %wide = shl i64 %m, %step
  %next = urem i64 %wide, %safe
  %less = sub i64 %left, %step
  br label %test
done:
  %zeros = call i64 @llvm.ctlz.i64(i64 %m, i1 false)
  %up = sub i64 %zeros, 11
  %room = sub i64 %ey, 1
  %s1 = call i64 @llvm.umin.i64(i64 %up, i64 %room)
  %s = call i64 @llvm.umin.i64(i64 %s1, i64 63)
  %fraction = shl i64 %m, %s
  %exponent = sub i64 %room, %s
  %high = shl i64 %exponent, 52
  %magnitude = add i64 %high, %fraction
  %none = icmp eq i64 %m, 0
  %bits = select i1 %none, i64 0, i64 %magnitude
  %r = bitcast i64 %bits to double
  %signed = call double @llvm.copysign.f64(double %r, double %x)
  ret double %signed
}
"""

INTRINSICS: tuple[tuple[str, str], ...] = (
    ("llvm.fabs.f64", "double (double)"),
    ("llvm.copysign.f64", "double (double, double)"),
    ("llvm.umax.i64", "i64 (i64, i64)"),
    ("llvm.umin.i64", "i64 (i64, i64)"),
    ("llvm.ctlz.i64", "i64 (i64, i1)"),
)
